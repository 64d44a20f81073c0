// A scored group arrives: is it one of ours, is it fresh enough, and what may its reward worker delete.
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/state.h"

namespace candor {

Ack CoordinatorState::AckFor(GroupId group, bool keep) const {
  Ack ack;
  ack.spool_release_through = covered_;
  ack.finished = finished_;
  if (!keep) ack.forget.push_back(group);
  return ack;
}

// kNone or filtered: it trains (the slot at least). Anything else: how it ends now. An error: it is not a result of this run at all.
Result<DropReason> CoordinatorState::Judge(const GroupScored& scored, const GroupState& group) const {
  if (scored.prompt.dataset != group.prompt.dataset || scored.prompt.row != group.prompt.row)
    return Fail(ErrorCode::kInvalidInput,
                fmt::format("group {} visits row {} of {}, not row {} of {}", scored.group.value, group.prompt.row, group.prompt.dataset,
                            scored.prompt.row, scored.prompt.dataset),
                scored.reward_worker, "all roles must read the same recipe");
  if (scored.wave != group.wave)  // the record of confidences is kept by it
    return Fail(ErrorCode::kInvalidInput,
                fmt::format("group {} belongs to wave {}, not to wave {}", scored.group.value, group.wave.value, scored.wave.value),
                scored.reward_worker, "the reward worker is of another run or another version of Candor: start it again");
  const bool forgotten = scored.newest_version < kept_from_;  // too old for any group: stale, not a ghost's
  if ((!forgotten && !versions_.count(scored.newest_version)) || scored.newest_version > NewestVersionFor(group, scored.group))
    return DropReason::kGhostVersion;
  if (scored.oldest_version < OldestVersionFor(group, scored.group)) return DropReason::kStale;
  if (IsEvalGroup(scored.group)) return DropReason::kEvaluation;
  if (scored.drop == DropReason::kEvaluation) return DropReason::kFailed;
  return group.retired && scored.drop == DropReason::kNone ? DropReason::kRetired : scored.drop;
}

CoordinatorState::RuleResult CoordinatorState::OnGroupScored(const GroupScored& scored, int64_t now_ms, Actions& actions) {
  auto sender = members_.find(scored.reward_worker);
  if (sender != members_.end() && sender->second.role == Role::kReward) sender->second.heard_ms = now_ms;
  GroupState* group = Find(scored.group);
  if (!group) {
    Ack ack = AckFor(scored.group, false);
    if (ended_.Find(scored.group)) return ack;  // a late second result of a group that has ended
    ack.accepted = false;
    ack.reason = IsEvalGroup(scored.group) ? fmt::format("version {} is not being evaluated", EvalVersionOf(scored.group).value)
                                           : fmt::format("group {} was never issued", scored.group.value);
    return ack;
  }
  if (group->phase != GroupPhase::kOpen && group->phase != GroupPhase::kLeased) {
    // The same result again, or a second result of a group that was leased twice: the first one counted.
    const bool ours = group->header && group->header->reward_worker == scored.reward_worker && group->header->hash == scored.hash;
    const bool needed = ours && group->phase != GroupPhase::kDropped && group->phase != GroupPhase::kEvaluated;
    // The same worker's spool holds one payload a group: forgetting would delete what the plan needs.
    const bool same_spool = group->header && group->header->reward_worker == scored.reward_worker;
    return AckFor(scored.group, needed || (same_spool && group->phase != GroupPhase::kDropped));
  }
  Result<DropReason> verdict = Judge(scored, *group);
  if (!verdict) {
    Ack ack = AckFor(scored.group, false);
    ack.accepted = false;
    ack.reason = verdict.error().Message();
    return ack;
  }
  GroupScored header = scored;
  header.sketches.clear();
  header.drop = *verdict;
  const bool trains = *verdict == DropReason::kNone || IsFiltered(*verdict);
  const bool observed = trains || *verdict == DropReason::kEvaluation || *verdict == DropReason::kAllUnknown;
  if (observed) actions.observed.push_back(scored);
  if (observed) Commit(actions, std::move(header));
  if (!trains && *verdict != DropReason::kEvaluation) {
    std::string why = fmt::format("versions {} to {}, {} unknown of {}", scored.oldest_version.value, scored.newest_version.value,
                                  scored.unknown, scored.traces);
    Commit(actions, GroupDropped{scored.group, *verdict, std::move(why)});
  }
  return AckFor(scored.group, trains);
}

}  // namespace candor
