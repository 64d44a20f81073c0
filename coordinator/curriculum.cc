#include "coordinator/curriculum.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/rng.h"

namespace candor {

namespace {
constexpr double kExploreLeast = 0.01;  // no prompt is given up for good
constexpr double kEasyFrom = 0.98, kHardTo = 0.11;
constexpr double kExploreStep = 0.01, kExploreMin = 0.05, kExploreMax = 0.95;
constexpr double kTargets[] = {0.25 / 3.0, 0.5 / 3.0};  // shares of easy and of hard groups in a step
constexpr uint64_t kPassesMax = 2;
enum Draw : uint64_t { kSkip = 0, kSlice = 1 };
}  // namespace

double SkipProbability(double p, uint32_t z) { return z == 0 ? 0.0 : 1.0 - std::max(std::pow(p, z), kExploreLeast); }

uint64_t Curriculum::KeyOf(const PromptRef& prompt) const {
  for (uint64_t d = 0; d < plan_.datasets.size(); ++d)
    if (plan_.datasets[d].name == prompt.dataset) return d << 32 | prompt.row;
  CANDOR_CHECK(false, "a prompt of a data set that the run has");
  return 0;
}

// A fresh draw for every visit of the order, so that it depends on nothing but the seed and the past.
bool Curriculum::Keeps(uint64_t visit, PromptChoice& choice) {
  const auto found = past_.find(KeyOf(choice.prompt));
  if (found == past_.end()) return true;
  const Past& past = found->second;
  if (past.retired) {
    choice.retired = RandomUnit(plan_.seed, RngStream::kCurriculum, visit, kSlice) < plan_.curriculum.retired_share;
    resting_ += choice.retired ? 0 : 1;
    return choice.retired;
  }
  if (!plan_.curriculum.skip || past.visits.empty() || past.visits.back() == kMiddling) return true;
  const Class last = past.visits.back();
  const auto run = std::find_if(past.visits.rbegin(), past.visits.rend(), [&](Class visited) { return visited != last; });
  choice.keep = 1.0 - SkipProbability(explore_[last], static_cast<uint32_t>(run - past.visits.rbegin()));
  if (RandomUnit(plan_.seed, RngStream::kCurriculum, visit, kSkip) < choice.keep) return true;
  ++skipped_;
  return false;
}

PromptChoice Curriculum::Next() {
  uint64_t rows = 0;
  for (const DatasetPlan& dataset : plan_.datasets) rows += dataset.rows;
  for (uint64_t tried = 0;; ++tried) {
    const uint64_t visit = cursor_++;
    PromptChoice choice{order_.AtVisit(visit)};
    if (!plan_.curriculum.NeedsPast() || Keeps(visit, choice)) return choice;
    if (tried + 1 >= kPassesMax * rows) return {choice.prompt};
  }
}

void Curriculum::SetRetired(Past& past) {
  const double retire_at = plan_.curriculum.retire_at;
  const bool now = retire_at > 0 && past.known > 0 && static_cast<double>(past.correct) >= retire_at * static_cast<double>(past.known);
  if (now != past.retired) now ? ++retired_ : --retired_;
  past.retired = now;
}

void Curriculum::Learned(StepId step, const std::vector<PromptOutcome>& outcomes) {
  if (!plan_.curriculum.NeedsPast()) return;
  StepMemory& memory = steps_[step];
  memory = {{}, {explore_[kEasy], explore_[kHard]}};
  double counts[3] = {0, 0, 0}, all = 0;
  for (const PromptOutcome& outcome : outcomes) {
    if (outcome.known == 0) continue;
    const double rate = static_cast<double>(outcome.correct) / static_cast<double>(outcome.known);
    const Class visited = rate >= kEasyFrom ? kEasy : rate <= kHardTo ? kHard : kMiddling;
    const uint64_t key = KeyOf(outcome.prompt);
    Past& past = past_[key];
    past.correct += outcome.correct, past.known += outcome.known;
    past.visits.push_back(visited);
    SetRetired(past);
    memory.lessons.push_back({key, outcome.correct, outcome.known});
    counts[visited] += 1, all += 1;
  }
  if (all == 0) return;
  for (const Class side : {kEasy, kHard})
    explore_[side] =
        std::clamp(explore_[side] + (counts[side] / all > kTargets[side] ? -kExploreStep : kExploreStep), kExploreMin, kExploreMax);
}

void Curriculum::Undo(StepId from) {
  while (!steps_.empty() && steps_.rbegin()->first >= from) {
    const StepMemory& memory = steps_.rbegin()->second;
    for (const auto& [prompt, correct, known] : memory.lessons) {
      Past& past = past_.at(prompt);
      past.correct -= correct, past.known -= known;
      past.visits.pop_back();
      SetRetired(past);
    }
    explore_[kEasy] = memory.explore[kEasy], explore_[kHard] = memory.explore[kHard];
    steps_.erase(std::prev(steps_.end()));
  }
}

}  // namespace candor
