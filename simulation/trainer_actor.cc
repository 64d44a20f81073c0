// The learner of a simulation: the product's dialogue with the others, one rank, in the order of trainer/learner.cc; learning is waiting,
// and a checkpoint is a file that is durable when it is told of.
#include <fmt/format.h>

#include <algorithm>

#include "core/epoch.h"
#include "core/fault_point.h"
#include "simulation/actors.h"
#include "trainer/link/dialogue.h"

namespace candor::sim {

namespace {

constexpr int64_t kPatienceMs = 120000;

class OneRank final : public RankTalk {
 public:
  int rank() const override { return 0; }
  int size() const override { return 1; }
  Result<std::string> Broadcast(const std::string& of_rank_0) override { return of_rank_0; }
  Result<std::vector<std::string>> Gather(const std::string& mine) override { return std::vector<std::string>{mine}; }
};

class SimLearner {
 public:
  SimLearner(Cluster& cluster, Clock& clock, DialogueSetup setup, uint64_t incarnation)
      : cluster_(cluster), clock_(clock), incarnation_(incarnation), dialogue_(std::move(setup), ranks_) {}

  Status Run() {
    const std::vector<uint64_t> checkpoints = NumberedEntries(Folder(), "step-", cluster_.disk);
    int64_t step = checkpoints.empty() ? 0 : static_cast<int64_t>(checkpoints.back());
    CANDOR_TRY(Publish(step));
    if (step > 0) CANDOR_TRY(TellCheckpoint(step));
    const auto steps = static_cast<int64_t>(cluster_.swarm.plan.steps);
    while (step < steps) {
      StepPlan plan;
      CANDOR_ASSIGN(const std::vector<ScoredGroup> groups, dialogue_.GroupsOf(step + 1, plan));
      if (plan.finished) break;
      FaultPoint("learner.forward");
      clock_.SleepMs(cluster_.swarm.learn_ms);
      FaultPoint("learner.step");
      CANDOR_TRY(Publish(++step));
      FaultPoint("learner.report");
      CANDOR_TRY(dialogue_.Tell(StepDone{{plan.step, plan.plan, version_.version, {}}, version_}, "report of a step", kPatienceMs));
      FaultPoint("learner.reported");
      if (step % static_cast<int64_t>(cluster_.swarm.checkpoint_every) == 0 || step == steps) CANDOR_TRY(Checkpoint(step));
    }
    return {};
  }

 private:
  static std::string Folder() { return std::string(kRunDir) + "/checkpoints"; }
  Status Publish(int64_t version) {
    const uint64_t maker = cluster_.swarm.remade_differs ? incarnation_ : 0;
    version_ = {{static_cast<uint64_t>(version)}, fmt::format("weights/v{}", version), fmt::format("h{}.{}", maker, version)};
    FaultPoint("learner.publish");
    return dialogue_.Tell(VersionAnnounce{version_, {static_cast<uint64_t>(version)}}, "announcement of a version", kPatienceMs);
  }
  Status Checkpoint(int64_t step) {
    FaultPoint("checkpoint.rename");
    CANDOR_TRY(WriteFileAtomic(cluster_.disk, fmt::format("{}/step-{}", Folder(), step), "weights"));
    return TellCheckpoint(step);
  }
  Status TellCheckpoint(int64_t step) {
    FaultPoint("checkpoint.announce");
    return dialogue_.Tell(CheckpointDone{{static_cast<uint64_t>(step)}, "checkpoint", "hash"}, "checkpoint", kPatienceMs);
  }

  Cluster& cluster_;
  Clock& clock_;
  const uint64_t incarnation_;
  OneRank ranks_;
  LearnerDialogue dialogue_;
  VersionInfo version_;
};

}  // namespace

std::string RunTrainer(Cluster& cluster, Process& process, uint64_t incarnation) {
  SimClock clock(cluster.scheduler, process);
  const std::unique_ptr<Transport> transport = cluster.net.TransportOf(process);
  DialogueSetup setup;
  setup.link = {transport.get(), kRunDir, cluster.swarm.plan.run_id, "trainer-0", {incarnation}, &clock, &cluster.disk};
  setup.steps = static_cast<int64_t>(cluster.swarm.plan.steps);
  setup.deadline_ms = kPatienceMs;
  setup.validate = [](const ScoredGroup& group) -> Status {
    if (group.traces_G.empty()) return Fail(ErrorCode::kInvalidInput, "an empty group");
    return {};
  };
  const Status learned = SimLearner(cluster, clock, std::move(setup), incarnation).Run();
  return learned ? "ok" : learned.error().Message();
}

}  // namespace candor::sim
