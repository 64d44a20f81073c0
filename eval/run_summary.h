// The result of a run in numbers (summary.json): before and after RL on the held-out and the out-of-domain sets, the baselines that need no
// RL, paired differences, and in words whether RL added anything. Pure.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "eval/answers.h"

namespace candor {

struct RunAnswers {
  std::string name;
  std::vector<AnswerRow> before, after;  // after is empty where the recipe has no RL
};

nlohmann::json RunSummary(const RunAnswers& answers);
// The evaluated sets of a summary as tables list them: held out, out of domain, dev.
std::vector<std::string> SetNames(const nlohmann::json& summary);
// Tables and words for the terminal, from summary.json alone.
std::string SummaryText(const nlohmann::json& summary);

}  // namespace candor
