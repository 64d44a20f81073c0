#include "trainer/learner.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/clock.h"
#include "core/fault_point.h"
#include "core/fs.h"
#include "core/log.h"
#include "model/device.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/exchange.h"
#include "trainer/link/dialogue.h"
#include "trainer/policy_start.h"
#include "trainer/publisher.h"
#include "trainer/rl_step.h"

namespace candor {

namespace {

constexpr int kTurnMs = 30000;  // rollouts hold the device for one engine step; below the collective's deadline

class RankTexts final : public RankTalk {
 public:
  explicit RankTexts(Collective& collective) : collective_(collective) {}
  int rank() const override { return collective_.rank(); }
  int size() const override { return collective_.size(); }
  Result<std::string> Broadcast(const std::string& of_rank_0) override { return BroadcastText(collective_, of_rank_0, 0); }
  Result<std::vector<std::string>> Gather(const std::string& mine) override { return GatherTexts(collective_, mine); }

 private:
  Collective& collective_;
};

PublishOptions PublishOptionsOf(const TrainerSetup& setup) {
  PublishOptions options;
  options.run_dir = setup.run_dir, options.keep = setup.options.keep_versions, options.full_every = setup.options.full_every;
  options.relay = setup.options.transfer == "relay", options.encrypt = setup.options.encrypt, options.bind = setup.options.relay_bind;
  options.transport = setup.transport;
  return options;
}

class Learner {
 public:
  Learner(const TrainerSetup& setup, Collective& collective, StartedPolicy started, const RlSettings& settings,
          std::unique_ptr<Parameters> reference)
      : setup_(setup),
        collective_(collective),
        started_(std::move(started)),
        policy_(*started_.policy),
        reference_(std::move(reference)),
        stepper_(settings, policy_, reference_.get()),
        publisher_(policy_, PublishOptionsOf(setup)),
        writer_(policy_, setup.run_dir + "/checkpoints", setup.options.checkpoint, setup.run_dir),
        deadline_ms_(setup.options.peer_deadline_s * 1000),
        ranks_(collective),
        dialogue_(MakeDialogue(), ranks_) {}

  Status Run();

 private:
  bool first() const { return collective_.rank() == 0; }
  double Seconds() const { return static_cast<double>(clock_.SteadyMs()) / 1000.0; }
  DialogueSetup MakeDialogue() const {
    const std::string worker = "trainer-" + std::to_string(collective_.rank());
    DialogueSetup setup;
    setup.link = {setup_.transport, setup_.run_dir, setup_.run_id, worker, started_.incarnation};
    setup.steps = setup_.options.steps;
    setup.deadline_ms = deadline_ms_;
    setup.stop = setup_.stop;
    setup.validate = [this](const ScoredGroup& group) {
      return ValidateGroup(group, policy_.config().vocab_size, policy_.config().max_positions);
    };
    return setup;
  }
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
  void AddStall(double seconds) { step_stall_s_ += seconds, checkpoint_stall_s_ += seconds; }

  const TrainerSetup& setup_;
  Collective& collective_;
  StartedPolicy started_;
  ShardedPolicy& policy_;
  const std::unique_ptr<Parameters> reference_;  // null unless an objective or a distance asks for it
  RlStepper stepper_;
  WeightPublisher publisher_;
  SystemClock clock_;
  CheckpointWriter writer_;
  const int64_t deadline_ms_;
  RankTexts ranks_;
  LearnerDialogue dialogue_;
  VersionInfo version_;
  int64_t checkpointed_ = -1;  // step of the newest one that was told
  int64_t checkpoints_failed_ = 0;
  double step_stall_s_ = 0.0, checkpoint_stall_s_ = 0.0;  // training stood still for checkpoints: in this step, for the present one
};

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
  CANDOR_ASSIGN(version_, publisher_.Publish(version));
  FaultPoint("learner.publish");
  return dialogue_.Tell(VersionAnnounce{version_, {static_cast<uint64_t>(version)}}, fmt::format("announcement of version {}", version),
                        deadline_ms_);
}

Status Learner::Report(const StepPlan& plan, StepResult& result) {
  StepDone done{{plan.step, plan.plan, version_.version, result.metrics}, version_};
  FaultPoint("learner.report");
  CANDOR_TRY(dialogue_.Tell(done, fmt::format("report of step {}", plan.step.value), deadline_ms_));
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
  const double start = SteadySeconds();  // a start takes less than a millisecond
  if (writer_.busy()) CANDOR_TRY(EndCheckpoint(deadline_ms_));
  std::string books;
  if (first()) {
    Result<std::string> told = dialogue_.AskBooks(deadline_ms_);
    if (told)
      books = std::move(*told);
    else
      LogError(told.error(), "the checkpoint is written without the coordinator's books");
  }
  CANDOR_TRY(writer_.Start(step, books));
  AddStall(SteadySeconds() - start);
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
  if (first())
    spdlog::info("checkpoint step={} path={} stall_s={:.4f}", outcome.info.step, outcome.info.path,
                 std::exchange(checkpoint_stall_s_, 0.0));
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
  return dialogue_.Tell(CheckpointDone{{static_cast<uint64_t>(info.step)},
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
    Result<std::vector<ScoredGroup>> groups = dialogue_.GroupsOf(step + 1, plan);
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
    AddStall(writer_.TakeWaitSeconds());  // for the snapshot of the last checkpoint, before this step's update
    result.metrics["checkpoint/stall_s"] = std::exchange(step_stall_s_, 0.0);
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
  settings.seed = setup.seed;
  std::unique_ptr<Parameters> reference;
  if (settings.NeedsReference()) {
    CANDOR_ASSIGN(reference, LoadReference(setup.model_folder, *started.policy, collective));
  }
  return Learner(absolute, collective, std::move(started), settings, std::move(reference)).Run();
}

}  // namespace candor
