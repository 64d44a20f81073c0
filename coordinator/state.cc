// Records and their effects, and which rule answers which message. Apply is the only place where durable state changes: a rule first
// commits a record, and replaying the records gives the same state.
#include "coordinator/state.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/check.h"

namespace candor {

const char* Name(GroupPhase phase) {
  static constexpr const char* kNames[] = {"open", "leased", "scored", "trained", "dropped", "evaluated"};
  return kNames[static_cast<size_t>(phase)];
}

StateLimits LimitsOf(const CoordinatorOptions& options) {
  StateLimits limits;
  limits.lease_timeout_ms = static_cast<int64_t>(options.lease_timeout_s * 1000);
  limits.progress_timeout_ms = static_cast<int64_t>(options.progress_timeout_s * 1000);
  return limits;
}

CoordinatorState::CoordinatorState(RunPlan plan, StateLimits limits, uint64_t epoch)
    : plan_(std::move(plan)), limits_(limits), curriculum_(plan_), moving_filter_(plan_.moving_filter), epoch_(epoch) {
  CANDOR_CHECK(CheckRunPlan(plan_).has_value(), "a run plan is checked before it is used");
  IssueWaves();
}

GroupState* CoordinatorState::Find(GroupId id) {
  auto found = groups_.find(id);
  return found == groups_.end() ? nullptr : &found->second;
}

VersionInfo CoordinatorState::NewestInfo() const { return versions_.empty() ? VersionInfo{} : versions_.rbegin()->second; }

void CoordinatorState::SetPhase(GroupId id, GroupState& group, GroupPhase phase) {
  if (group.phase == GroupPhase::kLeased && phase != GroupPhase::kLeased) Release(id, group);
  auto ended = [](GroupPhase p) { return p == GroupPhase::kTrained || p == GroupPhase::kDropped || p == GroupPhase::kEvaluated; };
  if (IsEvalGroup(id) && ended(phase) != ended(group.phase)) CountOpenEval(id, !ended(phase));
  --by_phase_[static_cast<size_t>(group.phase)], ++by_phase_[static_cast<size_t>(phase)];
  if (phase == GroupPhase::kDropped) ++dropped_[group.drop];
  group.phase = phase;
  phase == GroupPhase::kOpen ? void(open_.insert(id)) : void(open_.erase(id));
  phase == GroupPhase::kScored ? void(scored_.insert(id)) : void(scored_.erase(id));
}

void CoordinatorState::CountOpenEval(GroupId id, bool open) {
  uint32_t& of_eval = open_by_eval_[id.value >> 32];
  open ? ++of_eval : --of_eval;
  open ? ++open_evals_ : --open_evals_;
  if (of_eval == 0) open_by_eval_.erase(id.value >> 32);
}

uint32_t CoordinatorState::OpenInEval(GroupId any) const {
  auto found = open_by_eval_.find(any.value >> 32);
  return found == open_by_eval_.end() ? 0 : found->second;
}

// Waves are issued as far as the staleness bound lets them be leased, never taken back.
void CoordinatorState::IssueWaves() {
  const uint64_t through = std::min(plan_.steps, last_done_.value + 1 + plan_.staleness);
  while (issued_.value < through) {
    ++issued_.value;
    IssueGroups(issued_, 0, plan_.prompts_per_step);
  }
}

void CoordinatorState::IssueGroups(StepId wave, uint32_t from, uint32_t count) {
  for (uint32_t position = from; position < from + count; ++position) {
    const GroupId id = MakeGroupId(wave.value, position);
    const PromptChoice choice = curriculum_.Next();
    GroupState& group = groups_[id];
    group.prompt = choice.prompt, group.keep = choice.keep, group.retired = choice.retired;
    group.wave = wave;
    open_.insert(id);
    ++by_phase_[static_cast<size_t>(GroupPhase::kOpen)];
  }
}

uint32_t CoordinatorState::WaveSize(StepId wave) const {
  const auto extended = extended_.find(wave);
  return plan_.prompts_per_step + (extended == extended_.end() ? 0 : extended->second.first);
}
uint32_t CoordinatorState::WaveBatches(StepId wave) const {
  const auto extended = extended_.find(wave);
  return 1 + (extended == extended_.end() ? 0 : extended->second.second);
}

void CoordinatorState::IssueEvals(PolicyVersion version) {
  for (uint32_t e = 0; e < plan_.evals.size(); ++e) {
    const EvalPlan& eval = plan_.evals[e];
    if (!EvalIsDue(plan_, eval, version)) continue;
    for (uint32_t row = 0; row < eval.rows; ++row) {
      GroupId id = MakeEvalGroupId(e, version, row);
      if (ended_.Find(id)) continue;
      auto [at, fresh] = groups_.try_emplace(id);
      if (!fresh) continue;  // announced before: a replayed step
      at->second.prompt = {eval.name, row};
      at->second.wave = {version.value};
      open_.insert(id);
      ++by_phase_[static_cast<size_t>(GroupPhase::kOpen)];
      CountOpenEval(id, true);
    }
  }
}

// What each record does to the state.
struct RecordApplier {
  CoordinatorState& s;

  void operator()(const GroupScored& r) const {
    GroupState& group = Ensure(r.group);
    group.header = std::make_shared<const GroupScored>(r);
    group.drop = r.drop;
    s.SetPhase(r.group, group, IsEvalGroup(r.group) ? GroupPhase::kEvaluated : GroupPhase::kScored);
    if (IsEvalGroup(r.group)) group.header.reset();
  }
  void operator()(const GroupDropped& r) const {
    GroupState& group = Ensure(r.group);
    group.drop = r.reason;
    s.SetPhase(r.group, group, GroupPhase::kDropped);
  }
  void operator()(const GroupReopened& r) const {
    GroupState& group = s.groups_.at(r.group);
    group.header.reset();
    group.drop = DropReason::kNone;
    s.SetPhase(r.group, group, GroupPhase::kOpen);
  }
  void operator()(const VersionAnnounce& r) const {
    s.versions_[r.info.version] = r.info;
    s.IssueEvals(r.info.version);
  }
  void operator()(const PlanLogged& r) const {
    s.plans_[r.plan.step] = r;
    for (const PlannedGroup& planned : r.plan.groups) s.groups_.at(planned.group).drop = planned.drop;
    s.next_plan_ = std::max(s.next_plan_, r.plan.plan.value + 1);
  }
  void operator()(const PlanVoided& r) const {
    auto logged = s.plans_.find(r.step);
    if (logged != s.plans_.end() && logged->second.plan.plan == r.plan) s.plans_.erase(logged);
  }
  void operator()(const TrainerStarted& r) const {
    if (s.trainer_ && *s.trainer_ != r.incarnation) s.past_trainers_.insert(*s.trainer_);
    s.trainer_ = r.incarnation;
    if (s.segment_ != r.segment) {
      s.segment_ = r.segment;
      s.curriculum_.Undo(r.step);
      s.moving_filter_.Undo(r.step);
      for (StepId step = r.step; step <= s.last_done_; ++step.value) Undo(step);
      s.last_done_ = {r.step.value - 1};
      s.checkpointed_ = std::min(s.checkpointed_, s.last_done_);
      s.finished_ = false;
      if (r.step <= s.covered_) StartAgainFrom(s.last_done_);
    }
  }
  // Groups whose payload is still spooled are scored again and their plan stays; the others are generated again.
  void Undo(StepId step) const {
    if (auto logged = s.plans_.find(step); logged != s.plans_.end()) {
      for (const PlannedGroup& planned : logged->second.plan.groups)
        s.SetPhase(planned.group, s.groups_.at(planned.group), GroupPhase::kScored);
    } else {
      s.BringBack(step);
      for (uint32_t position = 0; position < s.WaveSize(step); ++position) {
        const GroupId id = MakeGroupId(step.value, position);
        GroupState& group = s.groups_.at(id);
        if (group.phase != GroupPhase::kTrained) continue;
        group.header.reset();
        group.drop = DropReason::kNone;
        s.SetPhase(id, group, GroupPhase::kOpen);
      }
    }
    if (s.last_report_ && s.last_report_->report.step == step) s.last_report_.reset();
  }
  // As at the start of a run, with version `step` in the place of version 0: what newer ones of the abandoned lineage bring is a ghost's.
  void StartAgainFrom(StepId step) const {
    s.covered_ = step;
    s.base_ = {step.value};
    s.kept_from_ = std::min(s.kept_from_, s.base_);
    s.versions_.erase(s.versions_.upper_bound({step.value}), s.versions_.end());
    s.ForgetEvalsBehind({step.value});
  }
  void operator()(const StepDone& r) const {
    const StepId step = r.report.step;
    std::vector<PromptOutcome> outcomes;
    std::vector<double> stds;
    for (const PlannedGroup& planned : s.plans_.at(step).plan.groups) {
      GroupState& group = s.groups_.at(planned.group);
      s.SetPhase(planned.group, group, GroupPhase::kTrained);
      if (!group.header) continue;
      outcomes.push_back({group.prompt, group.header->correct, group.header->correct + group.header->wrong});
      if (const auto deviation = ValueStdOf(*group.header)) stds.push_back(*deviation);
    }
    s.curriculum_.Learned(step, outcomes);
    s.moving_filter_.Learned(step, stds);
    s.last_report_ = r;
    s.last_done_ = step;
    s.IssueWaves();
  }
  // Nothing at or below the covered step can be asked for again: headers and plans go, ends stay.
  void operator()(const CheckpointDone& r) const {
    s.checkpointed_ = std::max(s.checkpointed_, r.step);
    s.Cover({r.step.value - std::min(r.step.value, r.replayable_steps)});
  }
  void operator()(const WaveExtended& r) const {
    auto& [groups, batches] = s.extended_[r.wave];
    s.IssueGroups(r.wave, s.plan_.prompts_per_step + groups, r.groups);
    groups += r.groups, ++batches;
  }
  void operator()(const RunFinished&) const {
    s.finished_ = s.last_done_.value >= s.plan_.steps;  // a resume may ask for more steps
    if (s.finished_) s.Cover(s.checkpointed_);
  }

  // Evaluations at what was the last version are not due any more when a resume asks for more steps; their results stay.
  GroupState& Ensure(GroupId id) const {
    auto [at, fresh] = s.groups_.try_emplace(id);
    if (fresh) {
      at->second.prompt = {s.plan_.evals.at(EvalIndexOf(id)).name, static_cast<uint32_t>(id.value)};
      at->second.wave = {EvalVersionOf(id).value};
      s.CountOpenEval(id, true);
      ++s.by_phase_[static_cast<size_t>(GroupPhase::kOpen)];
    }
    return at->second;
  }
};

void CoordinatorState::Apply(const LedgerRecord& record) { std::visit(RecordApplier{*this}, record); }

void CoordinatorState::Commit(Actions& actions, LedgerRecord record) {
  Apply(record);
  actions.records.push_back(std::move(record));
}

namespace {
// The group or step that a record needs to be there already.
struct Needs {
  std::optional<GroupId> group;
  std::optional<StepId> planned_step;
  std::vector<GroupId> planned;
};
Needs NeedsOf(const LedgerRecord& record) {
  Needs needs;
  if (auto* scored = std::get_if<GroupScored>(&record)) needs.group = scored->group;
  if (auto* dropped = std::get_if<GroupDropped>(&record)) needs.group = dropped->group;
  if (auto* reopened = std::get_if<GroupReopened>(&record)) needs.group = reopened->group;
  if (auto* done = std::get_if<StepDone>(&record)) needs.planned_step = done->report.step;
  if (auto* logged = std::get_if<PlanLogged>(&record))
    for (const PlannedGroup& group : logged->plan.groups) needs.planned.push_back(group.group);
  return needs;
}
}  // namespace

Status CoordinatorState::Replay(const LedgerRecord& record) {
  const Needs needs = NeedsOf(record);
  auto known = [&](GroupId id) { return groups_.count(id) > 0 || (IsEvalGroup(id) && EvalIndexOf(id) < plan_.evals.size()); };
  bool holds = (!needs.group || known(*needs.group)) && (!needs.planned_step || plans_.count(*needs.planned_step) > 0) &&
               std::all_of(needs.planned.begin(), needs.planned.end(), known);
  if (auto* started = std::get_if<TrainerStarted>(&record); started && started->segment != segment_) {
    holds = holds && 0 < started->step.value && started->step <= last_done_;
    for (StepId step = started->step; holds && step <= last_done_; ++step.value) holds = step <= covered_ || plans_.count(step) > 0;
  }
  if (auto* extended = std::get_if<WaveExtended>(&record))
    holds = holds && 0 < extended->wave.value && extended->wave <= issued_ && extended->groups <= plan_.prompts_per_step &&
            WaveSize(extended->wave) + extended->groups < (1u << 20);
  if (!holds)
    return Fail(ErrorCode::kInvalidInput, "the ledger does not fit this recipe", "ledger",
                "resume with the recipe the run was started with (only its number of steps may grow)");
  Apply(record);
  return {};
}

Actions CoordinatorState::Receive(Role role, uint64_t request_id, const MessageBody& body, int64_t now_ms) {
  Actions actions;
  if (role == Role::kTrainer)  // it has no heartbeat: its questions and reports show that it lives
    for (auto& [name, member] : members_)
      if (member.role == role) member.heard_ms = now_ms;
  RuleResult reply = Dispatch(role, request_id, body, now_ms, actions);
  FinishIfDone(actions);
  actions.reply = reply ? std::move(*reply) : MessageBody(reply.error());
  return actions;
}

Actions CoordinatorState::Tick(int64_t now_ms) {
  Actions actions;
  ExpireLeases(now_ms, actions);
  FinishIfDone(actions);
  return actions;
}

CoordinatorState::RuleResult CoordinatorState::Dispatch(Role role, uint64_t request_id, const MessageBody& body, int64_t now_ms,
                                                        Actions& actions) {
  const bool rollout = role == Role::kRollout, reward = role == Role::kReward, trainer = role == Role::kTrainer;
  if (auto* m = std::get_if<Hello>(&body)) return OnHello(role, *m, now_ms, actions);
  if (auto* m = std::get_if<LeaseRequest>(&body); m && rollout) return OnLeaseRequest(request_id, *m, now_ms);
  if (auto* m = std::get_if<WorkerHeartbeat>(&body); m && (rollout || reward)) return OnHeartbeat(role, *m, now_ms);
  if (auto* m = std::get_if<GroupFailed>(&body); m && (rollout || reward)) return OnGroupFailed(*m, actions);
  if (auto* m = std::get_if<GroupScored>(&body); m && reward) return OnGroupScored(*m, now_ms, actions);
  if (auto* m = std::get_if<PlanRequest>(&body); m && trainer) return OnPlanRequest(*m, now_ms, actions);
  if (auto* m = std::get_if<PlanVote>(&body); m && trainer) return OnPlanVote(*m, actions);
  if (auto* m = std::get_if<VersionAnnounce>(&body); m && trainer) return OnVersionAnnounce(*m, actions);
  if (auto* m = std::get_if<StepDone>(&body); m && trainer) return OnStepDone(*m, actions);
  if (auto* m = std::get_if<CheckpointDone>(&body); m && trainer) return OnCheckpointDone(*m, actions);
  return Fail(ErrorCode::kUnauthorized, fmt::format("a {} may not send this message to the coordinator", Name(role)), "coordinator");
}

// A run whose last checkpoint is not recorded may still have to learn its last steps again.
void CoordinatorState::FinishIfDone(Actions& actions) {
  if (finished_ || last_done_.value < plan_.steps || checkpointed_.value < plan_.steps || open_evals_ > 0) return;
  Commit(actions, RunFinished{});
  actions.events.push_back("the run is finished");
}

void CoordinatorState::NoteWaiting(const std::string& who, const std::string& what, int64_t now_ms) {
  if (what.empty()) {
    waiting_.erase(who);
    return;
  }
  Waiting& waiting = waiting_[who];
  if (waiting.what != what) waiting = {what, now_ms};
}

PolicyVersion CoordinatorState::OldestVersionFor(const GroupState& group, GroupId id) const {
  if (IsEvalGroup(id)) return EvalVersionOf(id);
  const uint64_t behind = 1 + plan_.staleness;
  return std::max(base_, PolicyVersion{group.wave.value > behind ? group.wave.value - behind : 0});
}

// Newer than wave - 1 only after the learner went back: versions of its earlier life are still in use.
PolicyVersion CoordinatorState::NewestVersionFor(const GroupState& group, GroupId id) const {
  if (IsEvalGroup(id)) return EvalVersionOf(id);
  if (plan_.deterministic) return OldestVersionFor(group, id);
  return std::max(PolicyVersion{group.wave.value - 1}, newest_version());
}

}  // namespace candor
