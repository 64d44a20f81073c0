#include "trainer/link/dialogue.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>

#include "core/fault_point.h"

namespace candor {

namespace {

constexpr int kPlanTryMs = 5000;  // ranks wait for each other that long at most while rank 0 asks for a plan
// A reward worker that does not answer may have come back at another address: the plan is asked for again, which says where. The last try
// in vain voids the plan.
constexpr int kFetchTriesMs[] = {250, 500, 1000, 1500, 2000};
constexpr size_t kFetchTries = std::size(kFetchTriesMs);
constexpr int64_t kVoteMs = 40000;  // likewise, while rank 0 votes
constexpr int kPollFirstMs = 20, kPollLastMs = 250;

}  // namespace

Status LearnerDialogue::Tell(const MessageBody& request, const std::string& what, int64_t deadline_ms) {
  for (const int64_t end_ms = setup_.link.clock->SteadyMs() + deadline_ms;;) {
    std::string answer;  // "": told
    if (first()) {
      Result<Ack> ack = link_.Ask<Ack>(request, what, std::min<int64_t>(deadline_ms, kPlanTryMs));
      if (ack && !ack->accepted) ack = Fail(ErrorCode::kInvalidInput, "the coordinator refused " + what + ": " + ack->reason);
      const bool again = !ack && ack.error().code == ErrorCode::kUnavailable && setup_.link.clock->SteadyMs() < end_ms;
      if (again) spdlog::info("waiting for=the coordinator, to tell it the {}: {}", what, ack.error().Message());
      const bool over = again && IsRunFinished(setup_.link.run_dir, static_cast<uint64_t>(setup_.steps), *setup_.link.disk);
      if (!ack && !over) answer = again ? "again" : Encode({setup_.link.run_id, 0, "trainer-0", MessageBody(ack.error())});
    }
    CANDOR_ASSIGN(answer, ranks_.Broadcast(answer));
    if (answer.empty()) return {};
    if (answer == "again") continue;
    CANDOR_ASSIGN(Message message, Decode(answer));
    return Fail(std::get<Error>(message.body));
  }
}

Result<std::string> LearnerDialogue::AskBooks(int64_t deadline_ms) {
  CANDOR_ASSIGN(StatusReply reply,
                link_.Ask<StatusReply>(StatusRequest{true}, "books for the checkpoint", std::min<int64_t>(deadline_ms, kPlanTryMs)));
  return std::move(reply.json);
}

// One question of rank 0: a plan (ready or not), or the error that ends the run.
MessageBody LearnerDialogue::AskPlan(int64_t step, int64_t& silent_since_ms) {
  if (setup_.stop && setup_.stop->load()) return Error{ErrorCode::kCancelled, "stopped on request", "", "go on with --resume", false};
  PlanRequest request{{static_cast<uint64_t>(step)}, setup_.link.incarnation, static_cast<uint32_t>(ranks_.size())};
  Result<StepPlan> plan = link_.Ask<StepPlan>(request, fmt::format("plan of step {}", step), kPlanTryMs);
  if (plan) {
    silent_since_ms = setup_.link.clock->SteadyMs();
    return std::move(*plan);
  }
  if (plan.error().code != ErrorCode::kUnavailable || setup_.link.clock->SteadyMs() - silent_since_ms > setup_.deadline_ms)
    return plan.error();
  StepPlan waiting;
  waiting.waiting_for = "the coordinator: " + plan.error().Message();
  return waiting;
}

Result<StepPlan> LearnerDialogue::NextPlan(int64_t step) {
  std::string said;
  int64_t silent_since_ms = setup_.link.clock->SteadyMs();
  for (int pause = kPollFirstMs;; pause = std::min(kPollLastMs, pause * 2)) {
    std::string bytes;
    if (first()) bytes = Encode({setup_.link.run_id, 0, "trainer-0", AskPlan(step, silent_since_ms)});
    CANDOR_ASSIGN(bytes, ranks_.Broadcast(bytes));
    CANDOR_ASSIGN(Message message, Decode(bytes));
    if (Error* error = std::get_if<Error>(&message.body)) return Fail(*error);
    StepPlan& plan = std::get<StepPlan>(message.body);
    if (plan.ready || plan.finished) return std::move(plan);
    if (first() && plan.waiting_for != said) spdlog::info("waiting step={} for={}", step, said = plan.waiting_for);
    setup_.link.clock->SleepMs(pause);
  }
}

// This rank's groups, fetched and checked; what came in an earlier try is kept. "" or "<group id> <reason>" of the first that is missing;
// `silent`: its reward worker did not answer.
std::string LearnerDialogue::FetchMine(const StepPlan& plan, bool& silent) {
  for (const PlannedGroup& planned : plan.groups) {
    if (planned.rank != static_cast<uint32_t>(ranks_.rank()) || fetched_.count(planned.group)) continue;
    Result<ScoredGroup> group = fetcher_.Fetch(planned, kFetchTriesMs[std::min(tries_, kFetchTries - 1)]);
    const Status valid = group ? setup_.validate(*group) : Status(Fail(group.error()));
    silent = !group && group.error().code == ErrorCode::kUnavailable;
    // One at a time: the wait for a silent worker is paid once.
    if (!valid) return ToString(planned.group) + " " + valid.error().Message();
    group->drop = planned.drop, group->slot_weight = planned.slot_weight;
    fetched_.emplace(planned.group, std::move(*group));
  }
  return "";
}

// Every rank fetches and checks its groups, then all vote. nullopt: the plan is to be asked for again, because it is void or because a
// reward worker was silent.
Result<std::optional<std::vector<ScoredGroup>>> LearnerDialogue::FetchAndVote(const StepPlan& plan) {
  if (fetched_plan_ != plan.plan) fetched_.clear(), fetched_plan_ = plan.plan, tries_ = 0;
  bool silent = false;
  const std::string missing = FetchMine(plan, silent);
  FaultPoint("learner.fetch");
  CANDOR_ASSIGN(std::vector<std::string> all, ranks_.Gather(missing.empty() ? "" : (silent ? "s" : "b") + missing));
  PlanVote vote{plan.plan, plan.step, true, {}, ""};
  bool only_silent = true;
  for (const std::string& one : all) {
    if (one.empty()) continue;
    only_silent = only_silent && one[0] == 's';
    vote.ok = false, vote.bad_groups.push_back({std::stoull(one.substr(1))});
    vote.reason += (vote.reason.empty() ? "" : "; ") + one.substr(1);
  }
  if (!vote.ok && only_silent && ++tries_ < kFetchTries) {  // the same verdict on every rank: it stands on what all have told all
    if (first()) spdlog::info("waiting step={} for=a reward worker: {}", plan.step.value, vote.reason);
    return std::nullopt;
  }
  std::string verdict;
  if (first()) {
    if (!vote.ok) spdlog::warn("plan {} of step {} is void: {}", plan.plan.value, plan.step.value, vote.reason);
    Result<Ack> ack = link_.Ask<Ack>(vote, "vote on the plan", std::min(setup_.deadline_ms, kVoteMs));
    verdict = vote.ok && ack && ack->accepted ? "learn" : "again";
  }
  CANDOR_ASSIGN(verdict, ranks_.Broadcast(verdict));
  FaultPoint("learner.vote");
  tries_ = 0;
  if (verdict != "learn") return std::nullopt;
  std::vector<ScoredGroup> groups;
  for (const PlannedGroup& planned : plan.groups)
    if (auto mine = fetched_.extract(planned.group); !mine.empty()) groups.push_back(std::move(mine.mapped()));
  fetched_.clear(), fetched_plan_ = {};
  return std::optional(std::move(groups));
}

Result<std::vector<ScoredGroup>> LearnerDialogue::GroupsOf(int64_t step, StepPlan& plan) {
  for (;;) {
    CANDOR_ASSIGN(plan, NextPlan(step));
    FaultPoint("learner.plan");
    if (plan.finished) return std::vector<ScoredGroup>{};
    CANDOR_ASSIGN(std::optional<std::vector<ScoredGroup>> groups, FetchAndVote(plan));
    if (groups) return std::move(*groups);
    setup_.link.clock->SleepMs(kPollFirstMs);
  }
}

}  // namespace candor
