// Several runs side by side: their final answers to the same held-out prompts, each with intervals, and paired differences against the
// first. Pure.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "eval/run_summary.h"

namespace candor {

// Errors: prompts that are not the same in all runs.
Result<nlohmann::json> CompareRuns(const std::vector<RunAnswers>& runs);
std::string ComparisonText(const nlohmann::json& comparison);

}  // namespace candor
