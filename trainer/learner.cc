#include "trainer/learner.h"

#include <fmt/format.h>

#include <chrono>
#include <filesystem>
#include <thread>

#include "core/clock.h"
#include "core/fault_point.h"
#include "core/fs.h"
#include "core/log.h"
#include "core/rendezvous.h"
#include "model/device.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/exchange.h"
#include "trainer/links.h"
#include "trainer/policy_start.h"
#include "trainer/publisher.h"
#include "trainer/rl_step.h"

namespace candor {

namespace {

constexpr int kPlanTryMs = 5000;    // ranks wait for each other that long at most while rank 0 asks for a plan
constexpr int kFetchTryMs = 5000;   // one group; well below the collective's deadline
constexpr int64_t kVoteMs = 40000;  // likewise, while rank 0 votes
constexpr int kTurnMs = 30000;      // rollouts hold the device for one engine step; below the collective's deadline
constexpr int kPollFirstMs = 20, kPollLastMs = 250;

class Learner {
 public:
  Learner(const TrainerSetup& setup, Collective& collective, StartedPolicy started, const RlSettings& settings)
      : setup_(setup),
        collective_(collective),
        started_(std::move(started)),
        policy_(*started_.policy),
        stepper_(settings, policy_),
        link_(MakeLink()),
        fetcher_(MakeLink()),
        writer_(policy_, setup.run_dir + "/checkpoints", setup.options.checkpoint, setup.run_dir),
        deadline_ms_(setup.options.peer_deadline_s * 1000) {}

  Status Run();

 private:
  bool first() const { return collective_.rank() == 0; }
  double Seconds() const { return static_cast<double>(clock_.SteadyMs()) / 1000.0; }
  LinkSetup MakeLink() const {
    return {setup_.transport, setup_.run_dir, setup_.run_id, "trainer-" + std::to_string(collective_.rank()), started_.incarnation};
  }
  MessageBody AskPlan(int64_t step, int64_t& silent_since_ms);
  Result<StepPlan> NextPlan(int64_t step);
  Result<std::optional<std::vector<ScoredGroup>>> FetchAndVote(const StepPlan& plan);
  Result<std::vector<ScoredGroup>> GroupsOf(int64_t step, StepPlan& plan);
  Result<StepResult> Learn(int64_t step, const std::vector<ScoredGroup>& groups);
  Status CheckFence();
  Status Publish(int64_t version);
  Status Report(const StepPlan& plan, StepResult& result);
  Status StartCheckpoint(int64_t step);
  Status PollCheckpoint();
  Status EndCheckpoint(int64_t deadline_ms);
  Status Checkpoint(int64_t step, int64_t deadline_ms);
  Status TellOutcome(const CheckpointOutcome& outcome, int64_t deadline_ms);
  Status TellCheckpoint(const CheckpointInfo& info, int64_t deadline_ms);
  Status Stop(int64_t steps_done);
  // Rank 0 says something to the coordinator; all ranks learn whether it worked.
  template <typename Request>
  Status Tell(const Request& request, const std::string& what, int64_t deadline_ms);

  const TrainerSetup& setup_;
  Collective& collective_;
  StartedPolicy started_;
  ShardedPolicy& policy_;
  RlStepper stepper_;
  SystemClock clock_;
  CoordinatorLink link_;
  GroupFetcher fetcher_;
  CheckpointWriter writer_;
  const int64_t deadline_ms_;
  VersionInfo version_;
  int64_t checkpointed_ = -1;  // step of the newest one that was told
  int64_t checkpoints_failed_ = 0;
  double stall_seconds_ = 0.0;  // of the last checkpoint
};

// Tried again for as long as the coordinator may stay away; between tries the ranks meet, so that no collective waits long. A coordinator
// that left because the run is over has heard everything.
template <typename Request>
Status Learner::Tell(const Request& request, const std::string& what, int64_t deadline_ms) {
  for (const int64_t end_ms = clock_.SteadyMs() + deadline_ms;;) {
    std::string answer;  // "": told
    if (first()) {
      Result<Ack> ack = link_.Ask<Ack>(request, what, std::min<int64_t>(deadline_ms, kPlanTryMs));
      if (ack && !ack->accepted) ack = Fail(ErrorCode::kInvalidInput, "the coordinator refused " + what + ": " + ack->reason);
      const bool again = !ack && ack.error().code == ErrorCode::kUnavailable && clock_.SteadyMs() < end_ms;
      if (again) spdlog::info("waiting for=the coordinator, to tell it the {}: {}", what, ack.error().Message());
      const bool over = again && IsRunFinished(setup_.run_dir, static_cast<uint64_t>(setup_.options.steps));
      if (!ack && !over) answer = again ? "again" : Encode({setup_.run_id, 0, "trainer-0", MessageBody(ack.error())});
    }
    CANDOR_ASSIGN(answer, BroadcastText(collective_, answer, 0));
    if (answer.empty()) return {};
    if (answer == "again") continue;
    CANDOR_ASSIGN(Message message, Decode(answer));
    return Fail(std::get<Error>(message.body));
  }
}

// One question of rank 0: a plan (ready or not), or the error that ends the run.
MessageBody Learner::AskPlan(int64_t step, int64_t& silent_since_ms) {
  if (setup_.stop && setup_.stop->load()) return Error{ErrorCode::kCancelled, "stopped on request", "", "go on with --resume", false};
  PlanRequest request{{static_cast<uint64_t>(step)}, started_.incarnation, static_cast<uint32_t>(collective_.size())};
  Result<StepPlan> plan = link_.Ask<StepPlan>(request, fmt::format("plan of step {}", step), kPlanTryMs);
  if (plan) {
    silent_since_ms = clock_.SteadyMs();
    return std::move(*plan);
  }
  if (plan.error().code != ErrorCode::kUnavailable || clock_.SteadyMs() - silent_since_ms > deadline_ms_) return plan.error();
  StepPlan waiting;
  waiting.waiting_for = "the coordinator: " + plan.error().Message();
  return waiting;
}

Result<StepPlan> Learner::NextPlan(int64_t step) {
  std::string said;
  int64_t silent_since_ms = clock_.SteadyMs();
  for (int pause = kPollFirstMs;; pause = std::min(kPollLastMs, pause * 2)) {
    std::string bytes;
    if (first()) bytes = Encode({setup_.run_id, 0, "trainer-0", AskPlan(step, silent_since_ms)});
    CANDOR_ASSIGN(bytes, BroadcastText(collective_, bytes, 0));
    CANDOR_ASSIGN(Message message, Decode(bytes));
    if (Error* error = std::get_if<Error>(&message.body)) return Fail(*error);
    StepPlan& plan = std::get<StepPlan>(message.body);
    if (plan.ready || plan.finished) return std::move(plan);
    if (first() && plan.waiting_for != said) spdlog::info("waiting step={} for={}", step, said = plan.waiting_for);
    std::this_thread::sleep_for(std::chrono::milliseconds(pause));
  }
}

// Every rank fetches and checks its groups, then all vote. nullopt: the plan is void.
Result<std::optional<std::vector<ScoredGroup>>> Learner::FetchAndVote(const StepPlan& plan) {
  std::vector<ScoredGroup> groups;
  std::string bad;  // "<group id> <reason>\n" ...
  for (const PlannedGroup& planned : plan.groups) {
    if (planned.rank != static_cast<uint32_t>(collective_.rank())) continue;
    Result<ScoredGroup> group = bad.empty() ? fetcher_.Fetch(planned, kFetchTryMs) : Fail(ErrorCode::kUnavailable, "not tried");
    Status valid = group ? ValidateGroup(*group, policy_.config().vocab_size, policy_.config().max_positions) : Status(Fail(group.error()));
    if (valid)
      groups.push_back(std::move(*group));
    else if (bad.empty())
      bad = ToString(planned.group) + " " + valid.error().Message();  // one at a time: the wait for a silent worker is paid once
    if (!groups.empty() && groups.back().id == planned.group) groups.back().drop = planned.drop;
  }
  FaultPoint("learner.fetch");
  CANDOR_ASSIGN(std::vector<std::string> all, GatherTexts(collective_, bad));
  PlanVote vote{plan.plan, plan.step, true, {}, ""};
  for (const std::string& one : all)
    if (!one.empty())
      vote.ok = false, vote.bad_groups.push_back({std::stoull(one)}), vote.reason += (vote.reason.empty() ? "" : "; ") + one;
  std::string verdict;
  if (first()) {
    if (!vote.ok) spdlog::warn("plan {} of step {} is void: {}", plan.plan.value, plan.step.value, vote.reason);
    Result<Ack> ack = link_.Ask<Ack>(vote, "vote on the plan", std::min(deadline_ms_, kVoteMs));
    verdict = vote.ok && ack && ack->accepted ? "learn" : "again";
  }
  CANDOR_ASSIGN(verdict, BroadcastText(collective_, verdict, 0));
  FaultPoint("learner.vote");
  if (verdict != "learn") return std::nullopt;
  return std::optional(std::move(groups));
}

Result<std::vector<ScoredGroup>> Learner::GroupsOf(int64_t step, StepPlan& plan) {
  for (;;) {
    CANDOR_ASSIGN(plan, NextPlan(step));
    FaultPoint("learner.plan");
    if (plan.finished) return std::vector<ScoredGroup>{};
    CANDOR_ASSIGN(std::optional<std::vector<ScoredGroup>> groups, FetchAndVote(plan));
    if (groups) return std::move(*groups);
    std::this_thread::sleep_for(std::chrono::milliseconds(kPollLastMs));
  }
}

// Beside rollouts on the same device: one rank of each machine takes the turn for all of them.
Result<StepResult> Learner::Learn(int64_t step, const std::vector<ScoredGroup>& groups) {
  if (!setup_.turn) return stepper_.Run(step, groups);
  Result<Turn::Hold> hold = Fail(ErrorCode::kInternal, "not asked");
  const bool asks = LocalRank(0) == 0;
  if (asks) hold = setup_.turn->TakeWhole(kTurnMs);
  CANDOR_TRY(AgreeOn(collective_, hold || !asks ? Status{} : Status(Fail(hold.error()))));
  return stepper_.Run(step, groups);
}

Status Learner::CheckFence() { return AgreeOn(collective_, setup_.fence ? setup_.fence->CheckStillOurs() : Status{}); }

Status Learner::Publish(int64_t version) {
  CANDOR_TRY(CheckFence());
  CANDOR_ASSIGN(version_, PublishWeights(policy_, setup_.run_dir, version, setup_.options.keep_versions));
  FaultPoint("learner.publish");
  return Tell(VersionAnnounce{version_, {static_cast<uint64_t>(version)}}, fmt::format("announcement of version {}", version),
              deadline_ms_);
}

Status Learner::Report(const StepPlan& plan, StepResult& result) {
  StepDone done{{plan.step, plan.plan, version_.version, result.metrics}, version_};
  FaultPoint("learner.report");
  CANDOR_TRY(Tell(done, fmt::format("report of step {}", plan.step.value), deadline_ms_));
  FaultPoint("learner.reported");
  if (first() && result.skipped) spdlog::error("step {} was skipped: {}; weights stay as they were", plan.step.value, result.why);
  if (first())
    spdlog::info("step={} loss={:.5f} grad_norm={:.4f} mismatch={:.2e} rows/s={:.0f} gathered_units_peak={:.0f}", plan.step.value,
                 result.metrics["loss/all"], result.metrics["optim/grad_norm"], result.metrics["mismatch/abs/mean"],
                 result.metrics["perf/throughput"], result.metrics["memory/gathered_units_peak"]);
  return {};
}

// The snapshot and what the books say at this moment. One that is still being written is waited for.
Status Learner::StartCheckpoint(int64_t step) {
  CANDOR_TRY(CheckFence());
  const double start = Seconds();
  if (writer_.busy()) CANDOR_TRY(EndCheckpoint(deadline_ms_));
  std::string books;
  if (first()) {
    Result<StatusReply> reply =
        link_.Ask<StatusReply>(StatusRequest{true}, "books for the checkpoint", std::min<int64_t>(deadline_ms_, kPlanTryMs));
    if (reply)
      books = reply->json;
    else
      LogError(reply.error(), "the checkpoint is written without the coordinator's books");
  }
  CANDOR_TRY(writer_.Start(step, books));
  stall_seconds_ = Seconds() - start;
  return {};
}

Status Learner::PollCheckpoint() {
  CANDOR_ASSIGN(const std::optional<CheckpointOutcome> outcome, writer_.Poll());
  return outcome ? TellOutcome(*outcome, deadline_ms_) : Status{};
}

Status Learner::EndCheckpoint(int64_t deadline_ms) {
  if (!writer_.busy()) return {};
  CANDOR_ASSIGN(const CheckpointOutcome outcome, writer_.Finish(std::max(deadline_ms, kCheckpointDeadlineMs)));
  return TellOutcome(outcome, deadline_ms);
}

// Training goes on without it; the next one is tried when it is due.
Status Learner::TellOutcome(const CheckpointOutcome& outcome, int64_t deadline_ms) {
  if (!outcome.written) {
    ++checkpoints_failed_;
    if (first()) LogError(outcome.written.error(), "checkpoint");
    return {};
  }
  if (first()) spdlog::info("checkpoint step={} path={} stall_s={:.4f}", outcome.info.step, outcome.info.path, stall_seconds_);
  return TellCheckpoint(outcome.info, deadline_ms);
}

// Written and told before it returns: at the end and at a stop.
Status Learner::Checkpoint(int64_t step, int64_t deadline_ms) {
  CANDOR_TRY(EndCheckpoint(deadline_ms));
  if (checkpointed_ == step) return {};
  CANDOR_TRY(StartCheckpoint(step));
  CANDOR_ASSIGN(const CheckpointOutcome outcome, writer_.Finish(kCheckpointDeadlineMs));
  CANDOR_TRY(outcome.written);
  return TellOutcome(outcome, deadline_ms);
}

// Groups are released up to the checkpoint before this one, so that this one may turn out to be damaged.
Status Learner::TellCheckpoint(const CheckpointInfo& info, int64_t deadline_ms) {
  FaultPoint("checkpoint.announce");
  const int64_t before = setup_.options.checkpoint.keep_last > 1 ? std::max<int64_t>(0, checkpointed_) : info.step;
  checkpointed_ = info.step;
  return Tell(CheckpointDone{{static_cast<uint64_t>(info.step)},
                             info.path,
                             info.manifest_hash,
                             info.ledger_sequence,
                             static_cast<uint64_t>(info.step - before)},
              fmt::format("checkpoint of step {}", info.step), deadline_ms);
}

// A clean stop: what was learned is kept. The coordinator may be gone already.
Status Learner::Stop(int64_t steps_done) {
  if (steps_done > 0)
    if (Status kept = Checkpoint(steps_done, 2000); !kept && first()) LogError(kept.error(), "checkpoint before the stop");
  return Fail(ErrorCode::kCancelled, fmt::format("stopped after step {}", steps_done), setup_.run_dir, "go on with --resume");
}

Status Learner::Run() {
  int64_t step = started_.step;
  CANDOR_TRY(Publish(step));
  if (started_.checkpoint)
    CANDOR_TRY(TellCheckpoint(*started_.checkpoint, deadline_ms_));  // an earlier life may have died before it said so
  while (step < setup_.options.steps) {
    const double start = Seconds();
    StepPlan plan;
    Result<std::vector<ScoredGroup>> groups = GroupsOf(step + 1, plan);
    if (!groups && groups.error().code == ErrorCode::kCancelled) return Stop(step);
    if (!groups) return Fail(groups.error());
    if (plan.finished) break;
    const double fetched = Seconds();
    CANDOR_ASSIGN(StepResult result, Learn(++step, *groups));
    const double learned = Seconds();
    CANDOR_TRY(Publish(step));
    result.metrics["time/wait_for_batch"] = fetched - start;
    result.metrics["time/learn"] = learned - fetched;
    result.metrics["time/publish"] = Seconds() - learned;
    result.metrics["time/step"] = Seconds() - start;
    result.metrics["checkpoint/stall_s"] = std::exchange(stall_seconds_, 0.0);
    result.metrics["checkpoint/failed"] = static_cast<double>(checkpoints_failed_);
    CANDOR_TRY(Report(plan, result));
    CANDOR_TRY(PollCheckpoint());
    const int64_t every = setup_.options.checkpoint.checkpoint_every;
    if (every > 0 && step % every == 0) CANDOR_TRY(StartCheckpoint(step));
  }
  if (step > 0) CANDOR_TRY(Checkpoint(step, deadline_ms_));
  CANDOR_TRY(WriteFinalPolicy(policy_, setup_.run_dir + "/weights/averaged", started_.folder_options));
  if (first()) spdlog::info("finished steps={} policy={}/weights/averaged", step, setup_.run_dir);
  return {};
}

}  // namespace

Status ServeTrainer(const TrainerSetup& setup, Collective& collective) {
  TrainerSetup absolute = setup;
  absolute.run_dir = std::filesystem::absolute(setup.run_dir).lexically_normal().string();
  CANDOR_ASSIGN(StartedPolicy started, StartPolicy(absolute, collective));
  CANDOR_ASSIGN(RlSettings settings, CheckRlSettings(setup.options, setup.objectives, started.slot, setup.deterministic));
  return Learner(absolute, collective, std::move(started), settings).Run();
}

}  // namespace candor
