// Findings about what an objective takes for its value: the policy's own certainty, a confidence as it was stated, a stored baseline, a
// group of one. Part of Lint (lint.h). Pure.
#pragma once
#include <vector>

#include "cli/lint.h"

namespace candor::cli {

void LintSignals(const Recipe& recipe, const ObjectiveOptions& objective, std::vector<Finding>& findings);

}  // namespace candor::cli
