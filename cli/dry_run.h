// `candor run --dry-run`: what a run would do, before it does it.
#pragma once
#include "cli/recipe.h"

namespace candor::cli {

// Prints the resolved recipe, memory per process, what each objective trains and an estimate of the time; the exit code.
int PrintDryRun(Recipe& recipe);
// What each objective does, one paragraph each: shared with `candor check`.
std::string ExplainObjectives(const Recipe& recipe);

// Seconds of RL at most, on two cores that are fast in bf16; kNotFound while the model is not there.
Result<double> EstimateRlSeconds(const Recipe& recipe);

}  // namespace candor::cli
