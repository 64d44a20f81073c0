// The stage "rl" on this machine: coordinator, reward, rollout and mpirun trainer processes, supervised and restarted, with live progress.
#pragma once
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "core/result.h"

namespace candor::cli {

// Runs (or goes on with) RL until the last step, then writes RUN_DIR/final and RUN_DIR/rl-done.json; returns at once when that is there.
// Ctrl-C and SIGTERM stop all processes cleanly and return kCancelled.
Status RunRl(const Recipe& recipe, const RunDir& run, bool quiet);

}  // namespace candor::cli
