// A whole run in order: preparation, the stages before RL, evaluations, RL, results and the signed record that all is done. `candor run`
// does all of it; `candor submit` does the preparation where it is called (a login node reaches the network) and the learners' job the
// rest.
#pragma once
#include "cli/recipe.h"
#include "cli/rl_stage.h"
#include "cli/run_dir.h"
#include "core/result.h"

namespace candor::cli {

struct RunMode {
  bool resume = false;
  RlRun rl;
};

// What is known to miscalibrate is not trained by oversight.
Status RefuseByLint(const Recipe& recipe);
// Inside a Slurm allocation of several nodes, or of one that is not this machine: RL is spread over them. Elsewhere nothing changes.
Status SpreadOverAllocation(const Recipe& recipe, RlRun& rl);

// Runs [prepare] where what it makes is not there.
Status MakeInputs(const Recipe& recipe);
// [prepare], a look at every input, and the run's folder with its keys.
Status PrepareRun(Recipe& recipe, const RunDir& run, const RunMode& mode);
// Everything behind that, or the rest of it when the folder holds a part. Errors as RunRl's.
Status RunRecipe(Recipe& recipe, const RunDir& run, const RunMode& mode);

}  // namespace candor::cli
