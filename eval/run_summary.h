// The result of a run in numbers (summary.json): before (the policy that all arms start from), after the slot's warm-up and after RL on the
// held-out and the out-of-domain sets, the baselines that need no RL, paired differences, and in words whether RL added anything. Pure.
#pragma once
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <utility>
#include <vector>

#include "eval/answers.h"

namespace candor {

struct RunAnswers {
  std::string name;
  std::vector<AnswerRow> before, after;  // after is empty where the recipe has no RL
  std::vector<AnswerRow> warm_up = {};   // what the stage warm_up left, where the recipe has one: the held-out set alone
};

nlohmann::json RunSummary(const RunAnswers& answers);
// The moments of a summary that may be there, in their order, with what tables call them.
inline constexpr std::pair<const char*, const char*> kMoments[] = {
    {"before", "before RL"}, {"warm_up", "after the warm-up"}, {"after", "after RL"}};
// The evaluated sets of a summary as tables list them: held out, out of domain, dev.
std::vector<std::string> SetNames(const nlohmann::json& summary);
// Tables and words for the terminal, from summary.json alone.
std::string SummaryText(const nlohmann::json& summary);

}  // namespace candor
