// Slurm's own programs, asked and read: sbatch, squeue, scancel, sinfo.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cli/run_dir.h"
#include "cli/slurm_plan.h"
#include "core/result.h"

namespace candor::cli {

// One job as it was submitted; RUN_DIR/jobs/submitted.json lists them.
struct SubmittedJob {
  std::string role, id, file;
};
Result<std::vector<SubmittedJob>> ReadSubmitted(const RunDir& run);
Status WriteSubmitted(const RunDir& run, const std::vector<SubmittedJob>& jobs);

// The job's number. `after`: the number of a job that must have started before, or "".
Result<std::string> SubmitScript(const std::string& file, const std::string& after);
// kGone: ended, or a number that Slurm has forgotten. An array is where its foremost task is.
enum class Presence { kGone, kQueues, kRuns };
Result<Presence> FindJob(const std::string& id);
Status CancelJob(const std::string& id);
// Ends the steps of this process's job that have this name, whatever has become of the srun that started them: ranks outlive an srun that
// was killed, and would keep the CPUs that the next step needs. Steps on other nodes are another life's of a job that Slurm runs twice.
void CancelSteps(const std::string& name);
// A step that is started again inside an allocation that outlives its nodes (--no-kill): where `command` (an srun) names a node that Slurm
// has found dead, others of `nodes` take its place, and it shrinks where there are too few.
void MoveFromDeadNodes(std::vector<std::string>& command, const std::vector<std::string>& nodes);
// What one node of the partition ("" = the default one) holds; nothing where sinfo says nothing.
NodeSize AskLargestNode(const std::string& partition);

// The jobs of a run that have left (rollouts that found the learners queueing) are submitted again. Called by learners that start.
Status CallBack(const RunDir& run);

}  // namespace candor::cli
