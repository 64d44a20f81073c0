// The stage "rl": coordinator, reward, rollout and trainer processes, supervised and restarted, with live progress.
#pragma once
#include <functional>

#include "cli/placement.h"
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "core/result.h"

namespace candor::cli {

struct RlRun {
  bool quiet = false;
  Spread spread = Spread::kThisMachine;
  Allocation allocation;
  std::function<Status()> still_ours;  // asked ten times a second: an error ends the stage (another incarnation has taken over)
  int stop_grace_ms = 20'000;          // how long a checkpoint may take when we are told to end
};

// Runs (or goes on with) RL until the last step, then writes RUN_DIR/final and RUN_DIR/rl-done.json; returns at once when that is there and
// names as many steps. When it names fewer, RL goes on to the new last one.
// Ctrl-C, SIGTERM and SIGUSR1 stop all processes cleanly and return kCancelled; kCollective: Slurm takes the allocation away.
Status RunRl(const Recipe& recipe, const RunDir& run, const RlRun& how);

// What supervisors say of a child that ended, and the error when it is given up.
std::string DescribeEnd(const ChildEvent& event, const Supervisor& supervisor);
Status GaveUp(const ChildEvent& event, const Supervisor& supervisor);
// A recipe or model that is wrong stays wrong: no use in trying again.
bool IsHopeless(const ChildEvent& event);

}  // namespace candor::cli
