// What a checkpoint covers: its groups have ended, and are put away until a learner goes back behind them.
#include <algorithm>

#include "coordinator/state.h"
#include "core/check.h"

namespace candor {

namespace {

// A learner may announce the version that it goes back to while another one's checkpoint still covers newer steps, and ask for its first
// plan after that: what was said must not be forgotten in between.
constexpr uint64_t kStepsBackRemembered = 200;

bool HasEnded(GroupPhase phase) {
  return phase == GroupPhase::kTrained || phase == GroupPhase::kDropped || phase == GroupPhase::kEvaluated;
}

EndedGroup PutAway(const GroupState& group, uint16_t dataset) {
  EndedGroup ended;
  ended.keep = group.keep, ended.place = group.prompt.row, ended.dataset = dataset, ended.drop = group.drop;
  ended.phase = static_cast<uint8_t>(group.phase) & 0x7f, ended.retired = group.retired ? 1 : 0;
  return ended;
}

GroupStand StandOfEnded(const EndedGroup& group) { return {static_cast<GroupPhase>(group.phase), group.drop}; }

}  // namespace

std::optional<GroupStand> CoordinatorState::StandOf(GroupId id) const {
  if (auto found = groups_.find(id); found != groups_.end()) return GroupStand{found->second.phase, found->second.drop};
  if (const EndedGroup* ended = ended_.Find(id)) return StandOfEnded(*ended);
  return std::nullopt;
}

void CoordinatorState::ForEachGroup(const std::function<void(GroupId, GroupStand)>& visit) const {
  ended_.ForEach([&](GroupId id, const EndedGroup& group) { visit(id, StandOfEnded(group)); });
  for (const auto& [id, group] : groups_) visit(id, {group.phase, group.drop});
}

// Nothing up to `through` has to be replayed any more: the spool may let go of it.
void CoordinatorState::Cover(StepId through) {
  if (through <= covered_) return;
  auto index_of = [this](const std::string& dataset) {
    const auto found = std::find_if(plan_.datasets.begin(), plan_.datasets.end(), [&](const DatasetPlan& d) { return d.name == dataset; });
    CANDOR_CHECK(found != plan_.datasets.end(), "a prompt of a data set that the run has");
    return static_cast<uint16_t>(found - plan_.datasets.begin());
  };
  auto at = groups_.lower_bound(MakeGroupId(covered_.value + 1, 0));
  while (at != groups_.end() && at->second.wave <= through && !IsEvalGroup(at->first)) {
    CANDOR_CHECK(HasEnded(at->second.phase), "a group of a step that was done has ended");
    ended_.Put(at->first, PutAway(at->second, index_of(at->second.prompt.dataset)));
    at = groups_.erase(at);
  }
  PutAwayEvals(through);
  covered_ = through;
  plans_.erase(plans_.begin(), plans_.upper_bound(through));
  ForgetVersions();
}

void CoordinatorState::PutAwayEvals(StepId through) {
  for (uint32_t e = 0; e < plan_.evals.size(); ++e) {
    auto at = groups_.lower_bound(MakeEvalGroupId(e, {0}, 0));
    while (at != groups_.end() && EvalIndexOf(at->first) == e && EvalVersionOf(at->first).value <= through.value) {
      const bool open = OpenInEval(at->first) > 0;
      if (!open) ended_.Put(at->first, PutAway(at->second, 0));
      at = open ? std::next(at) : groups_.erase(at);
    }
  }
}

// The oldest that a group of the next wave may be written by stays, those some way before it, and what an evaluation is still asking. A
// learner that goes back further announces its version before it asks for a plan.
void CoordinatorState::ForgetVersions() {
  const PolicyVersion oldest{covered_.value - std::min(covered_.value, plan_.staleness + kStepsBackRemembered)};
  auto asked = [this](PolicyVersion version) {
    for (uint32_t e = 0; e < plan_.evals.size(); ++e)
      if (OpenInEval(MakeEvalGroupId(e, version, 0)) > 0) return true;
    return false;
  };
  for (auto at = versions_.begin(); at != versions_.end() && at->first < oldest && std::next(at) != versions_.end();)
    at = asked(at->first) ? std::next(at) : versions_.erase(at);
  kept_from_ = std::max(kept_from_, oldest);
}

// Newer versions are of an abandoned lineage. The new one's versions of the same numbers are evaluated from the first row to the last: of
// the old ones nothing may count as an answer of theirs, nor a row that was dropped because its version had gone.
void CoordinatorState::ForgetEvalsBehind(PolicyVersion version) {
  const auto uncount = [this](GroupStand stand) {
    --by_phase_[static_cast<size_t>(stand.phase)];
    if (stand.phase == GroupPhase::kDropped) --dropped_[stand.drop];
  };
  for (uint32_t e = 0; e < plan_.evals.size(); ++e) {
    auto at = groups_.lower_bound(MakeEvalGroupId(e, {version.value + 1}, 0));
    while (at != groups_.end() && EvalIndexOf(at->first) == e) {
      if (!HasEnded(at->second.phase)) {
        SetPhase(at->first, at->second, GroupPhase::kOpen);  // a lease goes
        open_.erase(at->first);
        CountOpenEval(at->first, false);
      }
      uncount({at->second.phase, at->second.drop});
      at = groups_.erase(at);
    }
  }
  for (const EndedGroup& ended : ended_.TakeEvalsBehind(version)) uncount(StandOfEnded(ended));
}

void CoordinatorState::BringBack(StepId wave) {
  uint32_t position = 0;
  for (const EndedGroup& ended : ended_.TakeWave(wave)) {
    GroupState& group = groups_[MakeGroupId(wave.value, position++)];
    group.prompt = {plan_.datasets.at(ended.dataset).name, ended.place};
    group.wave = wave, group.phase = static_cast<GroupPhase>(ended.phase), group.drop = ended.drop;
    group.keep = ended.keep, group.retired = ended.retired != 0;
  }
}

}  // namespace candor
