// Steps: the plan of a step, the vote on it, the version it makes, and the checkpoint that lets its spool go.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "coordinator/state.h"

namespace candor {

namespace {
constexpr size_t kNamedMax = 8;  // workers that a wait lists by name
}

void BalanceOverRanks(std::vector<PlannedGroup>& groups, uint32_t ranks) {
  std::vector<size_t> by_size(groups.size());
  for (size_t i = 0; i < by_size.size(); ++i) by_size[i] = i;
  std::sort(by_size.begin(), by_size.end(),
            [&](size_t a, size_t b) { return groups[a].tokens != groups[b].tokens ? groups[a].tokens > groups[b].tokens : a < b; });
  std::vector<uint64_t> load(ranks, 0);
  for (size_t i : by_size) {
    auto least = std::min_element(load.begin(), load.end());
    *least += groups[i].tokens;
    groups[i].rank = static_cast<uint32_t>(least - load.begin());
  }
}

std::string CoordinatorState::WaitingForStep(StepId step) const {
  if (step.value > last_done_.value + 1) return fmt::format("step {} to be done", step.value - 1);
  uint32_t open = 0, leased = 0;
  std::set<std::string> workers;
  for (uint32_t position = 0; position < WaveSize(step); ++position) {
    const GroupState& group = groups_.at(MakeGroupId(step.value, position));
    open += group.phase == GroupPhase::kOpen;
    leased += group.phase == GroupPhase::kLeased;
    if (group.phase == GroupPhase::kLeased) workers.insert(group.worker);
  }
  if (open + leased == 0) return "";
  std::string text = fmt::format("step {}: {} of {} groups are not scored ({} leased", step.value, open + leased, WaveSize(step), leased);
  if (!workers.empty() && workers.size() <= kNamedMax) text += fmt::format(" by {}", fmt::join(workers, ", "));
  if (workers.size() > kNamedMax) text += fmt::format(" by {} workers, {} first", workers.size(), *workers.begin());
  return text + fmt::format(", {} waiting for a worker)", open);
}

// What the group's own outcomes said, or what the filter says that follows the run.
DropReason CoordinatorState::DropInPlan(StepId step, const GroupState& group) const {
  const GroupScored& header = *group.header;
  return header.drop == DropReason::kNone && !moving_filter_.Keeps(step, header) ? DropReason::kLowVariance : header.drop;
}

Result<PlanLogged> CoordinatorState::MakePlan(StepId step, uint32_t ranks) const {
  PlanLogged logged;
  logged.ranks = ranks;
  logged.plan.plan = {next_plan_};
  logged.plan.step = step;
  logged.plan.ready = true;
  for (uint32_t position = 0; position < WaveSize(step); ++position) {
    const GroupId id = MakeGroupId(step.value, position);
    const GroupState& group = groups_.at(id);
    if (group.phase == GroupPhase::kDropped) continue;
    if (group.phase != GroupPhase::kScored || !group.header)
      return Fail(ErrorCode::kInternal, fmt::format("group {} is {} in a plan", id.value, Name(group.phase)), "plan");
    const GroupScored& header = *group.header;
    logged.plan.groups.push_back({id, header.reward_endpoint, header.hash, 0, header.prompt_tokens + header.completion_tokens,
                                  DropInPlan(step, group), 1.0 / group.keep});
  }
  BalanceOverRanks(logged.plan.groups, ranks);
  return logged;
}

// A reward worker may have come back at another address since the plan was logged.
StepPlan CoordinatorState::ReplyPlan(const PlanLogged& logged) const {
  StepPlan plan = logged.plan;
  for (PlannedGroup& planned : plan.groups) {
    auto group = groups_.find(planned.group);
    if (group == groups_.end() || !group->second.header) continue;
    auto member = members_.find(group->second.header->reward_worker);
    if (member != members_.end() && !member->second.endpoint.empty()) planned.reward_endpoint = member->second.endpoint;
  }
  return plan;
}

// The first plan request of a new life says where the learner starts again. Going back undoes steps; being one ahead means that the report
// of a step was lost on its way.
Status CoordinatorState::AdoptTrainer(const PlanRequest& request, Actions& actions) {
  if (trainer_ == request.incarnation) return {};
  if (past_trainers_.count(request.incarnation))
    return Fail(ErrorCode::kUnauthorized, "a newer learner has taken over this run",
                fmt::format("incarnation {}", request.incarnation.value), "this process must stop");
  if (request.step.value == 0) return Fail(ErrorCode::kInvalidInput, "steps start at 1", "plan request");
  const StepId next{last_done_.value + 1};
  if (request.step.value == next.value + 1 && plans_.count(next)) {
    actions.events.push_back(fmt::format("step {} was done, its report was lost with the learner", next.value));
    StepDone done;
    done.report.step = next;
    done.report.plan = plans_.at(next).plan.plan;
    done.report.version = {next.value};
    Commit(actions, done);
    actions.steps_done.push_back(next);
  }
  if (request.step.value > last_done_.value + 1)
    return Fail(ErrorCode::kInvalidInput,
                fmt::format("the learner starts at step {}, but step {} was the last one done", request.step.value, last_done_.value),
                "plan request", "it uses the checkpoint of another run");
  const bool back = request.step <= last_done_;
  if (back)
    actions.events.push_back(
        fmt::format("the learner goes back from step {} to step {}: a new segment", last_done_.value, request.step.value - 1));
  if (request.step <= covered_ && request.step <= last_done_) {
    actions.events.push_back(
        fmt::format("the groups of steps {} to {} were released with the checkpoint of step {} and are generated again", request.step.value,
                    std::min(covered_, last_done_).value, checkpointed_.value));
    actions.evals_forgotten_behind = PolicyVersion{request.step.value - 1};
  }
  Commit(actions, TrainerStarted{request.incarnation, request.step, back ? SegmentId{segment_.value + 1} : segment_});
  return {};
}

// After a restart the coordinator knows where the reward workers were, not where they are: plans wait until those that hold the groups have
// said so, or have been silent for as long as a lease lives.
std::string CoordinatorState::WaitingForSpool(const PlanLogged& logged, int64_t now_ms) const {
  if (hold_leases_until_ms_ == 0 || now_ms > hold_leases_until_ms_ + limits_.lease_timeout_ms) return "";
  for (const PlannedGroup& planned : logged.plan.groups) {
    auto group = groups_.find(planned.group);
    if (group == groups_.end() || !group->second.header) continue;
    const std::string& worker = group->second.header->reward_worker;
    if (!members_.count(worker)) return fmt::format("{} to come back: it holds groups of step {}", worker, logged.plan.step.value);
  }
  return "";
}

CoordinatorState::RuleResult CoordinatorState::PlanOrWait(const PlanLogged& logged, int64_t now_ms) {
  StepPlan reply;
  reply.step = logged.plan.step;
  reply.waiting_for = WaitingForSpool(logged, now_ms);
  NoteWaiting("trainer", reply.waiting_for, now_ms);
  if (!reply.waiting_for.empty()) return reply;
  return ReplyPlan(logged);
}

// A complete wave of which the filter left too little is extended: as many prompts more as the share that passed so far lets one expect to
// be enough, with a quarter for luck (GRESO's adaptive batch), at most one batch at a time. Only the wave of the next step: in the order of
// steps the prompts are the same on every replay. All groups of the wave are trained, also where luck makes them more than
// prompts_per_step.
Result<bool> CoordinatorState::FillWave(StepId step, Actions& actions) {
  const uint32_t wanted = plan_.prompts_per_step, size = WaveSize(step), batches = WaveBatches(step);
  uint32_t kept = 0;
  for (uint32_t position = 0; position < size; ++position) {
    const GroupState& group = groups_.at(MakeGroupId(step.value, position));
    kept += group.phase == GroupPhase::kScored && group.header && DropInPlan(step, group) == DropReason::kNone;
  }
  if (plan_.curriculum.fill_batches < 2 || kept >= wanted) return false;
  if (batches >= plan_.curriculum.fill_batches)
    return Fail(ErrorCode::kInvalidInput,
                fmt::format("step {}: {} of {} groups passed the filter after {} generation batches", step.value, kept, wanted, batches),
                "curriculum.fill_batches", "raise it, train on prompts that are neither solved nor hopeless, or filter nothing");
  const double share = std::max(static_cast<double>(kept), 1.0) / size;
  const double more = std::ceil(1.25 * (wanted - kept) / share);
  Commit(actions, WaveExtended{step, static_cast<uint32_t>(std::min<double>(wanted, more))});
  return true;
}

CoordinatorState::RuleResult CoordinatorState::OnPlanRequest(const PlanRequest& request, int64_t now_ms, Actions& actions) {
  StepPlan reply;
  reply.step = request.step;
  if (request.step.value > plan_.steps) {
    reply.finished = true;
    NoteWaiting("trainer", "", now_ms);
    return reply;
  }
  CANDOR_TRY(AdoptTrainer(request, actions));
  auto logged = plans_.find(request.step);
  if (logged != plans_.end() && (logged->second.ranks == request.ranks || request.step <= last_done_))
    return PlanOrWait(logged->second, now_ms);
  if (request.step <= last_done_)
    return Fail(ErrorCode::kInvalidInput, fmt::format("step {} is done and its checkpoint recorded", request.step.value), "plan request");
  reply.waiting_for = WaitingForStep(request.step);
  NoteWaiting("trainer", reply.waiting_for, now_ms);
  if (!reply.waiting_for.empty()) return reply;
  if (logged == plans_.end()) {
    CANDOR_ASSIGN(const bool extended, FillWave(request.step, actions));
    if (extended) {
      reply.waiting_for = WaitingForStep(request.step);
      NoteWaiting("trainer", reply.waiting_for, now_ms);
      return reply;
    }
  }
  if (logged != plans_.end()) Commit(actions, PlanVoided{logged->second.plan.plan, request.step, "another number of ranks"});
  CANDOR_ASSIGN(PlanLogged plan, MakePlan(request.step, request.ranks));
  Commit(actions, plan);
  return PlanOrWait(plan, now_ms);
}

CoordinatorState::RuleResult CoordinatorState::OnPlanVote(const PlanVote& vote, Actions& actions) {
  Ack ack;
  ack.finished = finished_;
  auto logged = plans_.find(vote.step);
  const bool current = logged != plans_.end() && logged->second.plan.plan == vote.plan && vote.step > last_done_;
  if (!current) {
    ack.accepted = vote.step <= last_done_ && vote.ok;
    ack.reason = fmt::format("plan {} of step {} is not the present one", vote.plan.value, vote.step.value);
    return ack;
  }
  if (vote.ok) return ack;
  actions.events.push_back(fmt::format("plan {} of step {} is void: {}; {} groups are generated again", vote.plan.value, vote.step.value,
                                       vote.reason, vote.bad_groups.size()));
  std::set<GroupId> planned;
  for (const PlannedGroup& group : logged->second.plan.groups) planned.insert(group.group);
  Commit(actions, PlanVoided{vote.plan, vote.step, vote.reason});
  for (GroupId id : vote.bad_groups)
    if (planned.erase(id)) Commit(actions, GroupReopened{id, "could not be fetched: " + vote.reason});
  return ack;
}

CoordinatorState::RuleResult CoordinatorState::OnVersionAnnounce(const VersionAnnounce& announce, Actions& actions) {
  const PolicyVersion version = announce.info.version;
  Ack ack;
  ack.finished = finished_;
  ack.spool_release_through = covered_;
  auto known = versions_.find(version);
  const bool same =
      known != versions_.end() && known->second.hash == announce.info.hash && known->second.manifest == announce.info.manifest;
  if (same) return ack;
  const bool possible = version.value == announce.step.value && version.value <= last_done_.value + 1 && version.value < kMaxVersions;
  const bool planned = version.value == 0 || version.value <= last_done_.value || plans_.count({version.value});
  if (!possible || !planned) {
    ack.accepted = false;
    ack.reason = fmt::format("version {} of step {} cannot exist: step {} was the last one done", version.value, announce.step.value,
                             last_done_.value);
    return ack;
  }
  if (known != versions_.end()) actions.events.push_back(fmt::format("version {} was made again, with other bytes", version.value));
  Commit(actions, announce);
  return ack;
}

CoordinatorState::RuleResult CoordinatorState::OnStepDone(const StepDone& done, Actions& actions) {
  const StepId step = done.report.step;
  Ack ack;
  ack.finished = finished_;
  ack.spool_release_through = covered_;
  if (step <= last_done_ && step.value > 0) return ack;  // said before
  auto logged = plans_.find(step);
  const bool fits = step.value == last_done_.value + 1 && logged != plans_.end() && logged->second.plan.plan == done.report.plan &&
                    done.info.version.value == step.value;
  if (!fits) {
    ack.accepted = false;
    ack.reason = fmt::format("step {} under plan {} is not the step and plan we wait for", step.value, done.report.plan.value);
    return ack;
  }
  auto known = versions_.find(done.info.version);
  if (known == versions_.end() || known->second.hash != done.info.hash) Commit(actions, VersionAnnounce{done.info, step});
  Commit(actions, done);
  actions.steps_done.push_back(step);
  return ack;
}

CoordinatorState::RuleResult CoordinatorState::OnCheckpointDone(const CheckpointDone& done, Actions& actions) {
  Ack ack;
  if (done.step > last_done_) {
    ack.accepted = false;
    ack.reason = fmt::format("a checkpoint of step {}, but step {} was the last one done", done.step.value, last_done_.value);
  } else if (done.step > checkpointed_) {
    Commit(actions, done);
  }
  ack.spool_release_through = covered_;
  ack.finished = finished_;
  return ack;
}

}  // namespace candor
