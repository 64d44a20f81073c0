// Workers of a run that are supervised apart from its learners: the one process of a Slurm job, or those that `candor join` adds.
#pragma once
#include <functional>
#include <vector>

#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "cli/supervisor.h"
#include "core/result.h"

namespace candor::cli {

struct WorkersRun {
  std::string what;                    // for messages: "rollouts"
  std::function<Status()> still_ours;  // asked every second; an error ends the workers
  int stop_grace_ms = 20'000;
  std::function<bool()> left_alone = {};  // asked every second: nobody needs these workers any more, and they leave
};

// Waits until the run has a recipe for its roles: the stages before RL may still be at work. False: `left_alone` (as in WorkersRun) said
// that nobody comes.
Result<bool> WaitForRun(const RunDir& run, const std::function<bool()>& left_alone);
// Starts and restarts the workers until they leave by themselves or the run is done. kCancelled: a signal; kCollective: somebody else told
// a worker to end; kUnavailable: the learners have failed for good (it says why), or still_ours' error.
Status SuperviseWorkers(std::vector<ChildSpec> specs, const RunDir& run, const WorkersRun& how);

// The learners' last word where no restart can help; the other jobs of the run end on it.
Status RecordFailure(const RunDir& run, const Error& error);
void ForgetFailure(const RunDir& run);

}  // namespace candor::cli
