// Where a run's processes go: [placement], and how Slurm is asked for room, [slurm].
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/options.h"

namespace candor::cli {

struct PlacementOptions {
  int64_t trainer_gpus = 0;
  int64_t rollout_gpus = 0;
  bool colocate = false;
};

struct SlurmOptions {
  std::string account, partition, qos, time, gres, constraint, container, template_file;
  std::vector<std::string> prologue, extra;
  int64_t warn_s = 120;
  double idle_exit_min = 30;
};

inline void Declare(OptionTable& t, PlacementOptions& o) {
  t.Section("placement", "Which devices learn and which write answers.");
  t.Int("trainer_gpus", &o.trainer_gpus,
        {.min = 0,
         .max = 65536,
         .unit = "GPUs",
         .help = "GPUs of the learners, one a rank; 0 = as many as there are ranks, where GPUs are used"});
  t.Int("rollout_gpus", &o.rollout_gpus,
        {.min = 0,
         .max = 65536,
         .unit = "GPUs",
         .help = "GPUs of the rollouts, one a worker; 0 = as many as there are workers, where GPUs are used"});
  t.Bool("colocate", &o.colocate,
         {.help = "learners and rollouts of a machine take turns on the same device (or cores): rollouts pause while a step is learned; "
                  "memory is not given back between turns"});
}

inline void Declare(OptionTable& t, SlurmOptions& o) {
  t.Section("slurm", "How `candor submit` asks Slurm for room.");
  t.String("account", &o.account, {.help = "sbatch --account"});
  t.String("partition", &o.partition, {.help = "sbatch --partition"});
  t.String("qos", &o.qos, {.help = "sbatch --qos"});
  t.String("time", &o.time,
           {.help = "sbatch --time: time limit of each job, such as 04:00:00; at the limit a job puts itself back into the queue"});
  t.String("gres", &o.gres, {.help = "sbatch --gres of the jobs with a model (learners, rollouts), such as gpu:a100:1"});
  t.String("constraint", &o.constraint, {.help = "sbatch --constraint"});
  t.StringList("prologue", &o.prologue, {.help = "shell lines at the start of every job, such as module load openmpi"});
  t.String("container", &o.container,
           {.help = "Apptainer image (or sandbox folder) in which the roles run; it holds candor and candor-torch on its PATH"});
  t.String("template", &o.template_file, {.help = "your own job script instead of deploy/slurm/job.sbatch, with the same {{names}}"});
  t.StringList("extra", &o.extra,
               {.help = "more sbatch options; of one job only where it begins with its role, such as \"learners: --nodes=2\""});
  t.Int("warn_s", &o.warn_s,
        {.min = 10, .max = 65535, .unit = "s", .help = "how long before its end a job is told (sbatch --signal): time for a checkpoint"});
  t.Double("idle_exit_min", &o.idle_exit_min,
           {.min = 0,
            .max = 100000,
            .unit = "min",
            .help = "rollouts whose learners have been queueing for so long leave, and so does every job whose learners are gone; learners "
                    "that start call them back; 0 = never"});
}

}  // namespace candor::cli
