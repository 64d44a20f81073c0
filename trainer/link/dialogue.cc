#include "trainer/link/dialogue.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/fault_point.h"

namespace candor {

namespace {

constexpr int kPlanTryMs = 5000;    // ranks wait for each other that long at most while rank 0 asks for a plan
constexpr int kFetchTryMs = 5000;   // one group; well below the collective's deadline
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

// Every rank fetches and checks its groups, then all vote. nullopt: the plan is void.
Result<std::optional<std::vector<ScoredGroup>>> LearnerDialogue::FetchAndVote(const StepPlan& plan) {
  std::vector<ScoredGroup> groups;
  std::string bad;  // "<group id> <reason>\n" ...
  for (const PlannedGroup& planned : plan.groups) {
    if (planned.rank != static_cast<uint32_t>(ranks_.rank())) continue;
    Result<ScoredGroup> group = bad.empty() ? fetcher_.Fetch(planned, kFetchTryMs) : Fail(ErrorCode::kUnavailable, "not tried");
    Status valid = group ? setup_.validate(*group) : Status(Fail(group.error()));
    if (valid)
      groups.push_back(std::move(*group));
    else if (bad.empty())
      bad = ToString(planned.group) + " " + valid.error().Message();  // one at a time: the wait for a silent worker is paid once
    if (!groups.empty() && groups.back().id == planned.group) groups.back().drop = planned.drop;
  }
  FaultPoint("learner.fetch");
  CANDOR_ASSIGN(std::vector<std::string> all, ranks_.Gather(bad));
  PlanVote vote{plan.plan, plan.step, true, {}, ""};
  for (const std::string& one : all)
    if (!one.empty())
      vote.ok = false, vote.bad_groups.push_back({std::stoull(one)}), vote.reason += (vote.reason.empty() ? "" : "; ") + one;
  std::string verdict;
  if (first()) {
    if (!vote.ok) spdlog::warn("plan {} of step {} is void: {}", plan.plan.value, plan.step.value, vote.reason);
    Result<Ack> ack = link_.Ask<Ack>(vote, "vote on the plan", std::min(setup_.deadline_ms, kVoteMs));
    verdict = vote.ok && ack && ack->accepted ? "learn" : "again";
  }
  CANDOR_ASSIGN(verdict, ranks_.Broadcast(verdict));
  FaultPoint("learner.vote");
  if (verdict != "learn") return std::nullopt;
  return std::optional(std::move(groups));
}

Result<std::vector<ScoredGroup>> LearnerDialogue::GroupsOf(int64_t step, StepPlan& plan) {
  for (;;) {
    CANDOR_ASSIGN(plan, NextPlan(step));
    FaultPoint("learner.plan");
    if (plan.finished) return std::vector<ScoredGroup>{};
    CANDOR_ASSIGN(std::optional<std::vector<ScoredGroup>> groups, FetchAndVote(plan));
    if (groups) return std::move(*groups);
    setup_.link.clock->SleepMs(kPollLastMs);
  }
}

}  // namespace candor
