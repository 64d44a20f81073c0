// What `candor submit` asks of Slurm: four jobs (coordinator, learners, an array of rollouts, an array of rewards), never one heterogeneous
// job, which dies whole when any of its nodes does; or one job where everything fits one node. Pure: text in, text out.
#pragma once
#include <string>
#include <vector>

#include "cli/recipe.h"
#include "core/result.h"

namespace candor::cli {

struct SlurmSite {
  std::string candor;    // absolute path of this program
  std::string run_dir;   // absolute
  std::string work_dir;  // relative paths of the recipe are meant from here
  std::string template_text;
};

struct SlurmJob {
  std::string role;              // coordinator | learners | rollouts | rewards | all: what `candor job ROLE` is called with
  std::string script;            // its text
  std::string file;              // RUN_DIR/jobs/<role>.sbatch
  std::string after;             // role of the job that must have started before; "" = none
  int64_t first = 0, count = 1;  // workers: indices of the array
};

struct SlurmPlan {
  std::string layout;  // jobs | one_job
  std::string why;     // of the layout
  std::vector<SlurmJob> jobs;
};

// CPUs and GPUs of the largest node that a job could have, as `sinfo -h -o '%c %G'` prints them; nullopt where it cannot be known.
struct NodeSize {
  int64_t cpus = 0, gpus = 0;
};
NodeSize LargestNode(const std::string& sinfo_lines);

// Errors: a template that lacks what a job needs, or names something unknown.
Result<SlurmPlan> PlanSlurm(const Recipe& recipe, const SlurmSite& site, const NodeSize& largest);
// One more array of rollouts for a run that is under way: indices first .. first + count - 1.
Result<SlurmJob> PlanMoreRollouts(const Recipe& recipe, const SlurmSite& site, int64_t first, int64_t count);

// What starts the learners' ranks inside their job. A lost rank ends all (--kill-on-bad-exit), and srun waits 10 s for ranks that nobody
// can reach (--wait). A step on a node that was rebooted before Slurm noticed is never over for Slurm: --overlap lets the next one start
// beside that ghost.
std::vector<std::string> SrunLearners(int64_t ranks, int64_t threads);

// 'it'\''s': one word for the shell.
std::string ShellQuoted(const std::string& text);

}  // namespace candor::cli
