#include "trainer/learner.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/clock.h"
#include "core/fault_point.h"
#include "core/fs.h"
#include "core/log.h"
#include "model/device.h"
#include "trainer/checkpoint.h"
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

class Learner {
 public:
  Learner(const TrainerSetup& setup, Collective& collective, StartedPolicy started, const RlSettings& settings)
      : setup_(setup),
        collective_(collective),
        started_(std::move(started)),
        policy_(*started_.policy),
        stepper_(settings, policy_),
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
  Status Checkpoint(int64_t step, int64_t deadline_ms);
  Status TellCheckpoint(const CheckpointInfo& info, int64_t deadline_ms);
  Status Stop(int64_t steps_done);

  const TrainerSetup& setup_;
  Collective& collective_;
  StartedPolicy started_;
  ShardedPolicy& policy_;
  RlStepper stepper_;
  SystemClock clock_;
  const int64_t deadline_ms_;
  RankTexts ranks_;
  LearnerDialogue dialogue_;
  VersionInfo version_;
  int64_t checkpointed_ = -1;
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
  CANDOR_ASSIGN(version_, PublishWeights(policy_, setup_.run_dir, version, setup_.options.keep_versions));
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

Status Learner::Checkpoint(int64_t step, int64_t deadline_ms) {
  CANDOR_TRY(CheckFence());
  CANDOR_ASSIGN(const CheckpointInfo info, WriteCheckpoint(policy_, setup_.run_dir + "/checkpoints", step, setup_.options.keep_last));
  if (first()) spdlog::info("checkpoint step={} path={}", step, info.path);
  return TellCheckpoint(info, deadline_ms);
}

Status Learner::TellCheckpoint(const CheckpointInfo& info, int64_t deadline_ms) {
  FaultPoint("checkpoint.announce");
  checkpointed_ = info.step;
  return dialogue_.Tell(CheckpointDone{{static_cast<uint64_t>(info.step)}, info.path, info.manifest_hash},
                        fmt::format("checkpoint of step {}", info.step), deadline_ms);
}

// A clean stop: what was learned is kept. The coordinator may be gone already.
Status Learner::Stop(int64_t steps_done) {
  if (steps_done > 0 && checkpointed_ != steps_done)
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
    CANDOR_TRY(Report(plan, result));
    if (setup_.options.checkpoint_every > 0 && step % setup_.options.checkpoint_every == 0) CANDOR_TRY(Checkpoint(step, deadline_ms_));
  }
  if (checkpointed_ != step && step > 0) CANDOR_TRY(Checkpoint(step, deadline_ms_));
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
