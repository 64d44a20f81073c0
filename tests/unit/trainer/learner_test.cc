// The trainer role against a coordinator and a reward worker made of scripts: plans, a void plan, versions, reports, checkpoints, resume,
// and a coordinator that comes back elsewhere.
#include "trainer/learner.h"

#include <atomic>
#include <mutex>

#include "core/fs.h"
#include "core/rendezvous.h"
#include "core/thread.h"
#include "proto/messages.h"
#include "tiny.h"
#include "weights/version_fetcher.h"

namespace candor {
namespace {

constexpr int kRanks = 2;

// Answers both protocols; says what it saw.
class FakePeers {
 public:
  FakePeers(Transport& transport, const std::string& run_dir, int64_t steps) : transport_(transport), run_dir_(run_dir), steps_(steps) {
    reward_ = transport.Listen("tcp://127.0.0.1:0", Role::kReward, kMaxPayloadBytes).value();
    StartCoordinator();
    reward_thread_ = NamedThread("reward", [this] { Serve(*reward_, stop_); });
  }
  ~FakePeers() { stop_ = true, coordinator_stop_ = true; }

  void StartCoordinator() {
    coordinator_stop_ = true;
    coordinator_thread_.Join();
    coordinator_stop_ = false;
    coordinator_ = transport_.Listen("tcp://127.0.0.1:0", Role::kCoordinator, kMaxControlBytes).value();
    ++epoch_;
    ASSERT_TRUE(WriteFileAtomic(run_dir_ + "/endpoint." + std::to_string(epoch_),
                                "{\"epoch\": " + std::to_string(epoch_) + ", \"endpoint\": \"" + coordinator_->endpoint() + "\"}"));
    coordinator_thread_ = NamedThread("coordinator", [this] { Serve(*coordinator_, coordinator_stop_); });
  }

  std::mutex mutex;
  std::vector<uint64_t> versions, done, checkpoints, voids;
  std::vector<std::map<std::string, double>> metrics;
  std::atomic<int64_t> reached = 0;
  bool lose_a_group = false;

 private:
  void Serve(MessageServer& server, std::atomic<bool>& stop) {
    while (!stop) {
      auto message = server.Receive(20);
      if (!message || !*message) continue;
      Result<Message> request = Decode((*message)->body);
      ASSERT_TRUE(request) << request.error().Message();
      (void)server.Send((*message)->peer, Encode({"run", request->sequence, "fake", Answer(request->body)}));
    }
  }

  StepPlan Plan(const PlanRequest& request) {
    StepPlan plan;
    plan.step = request.step;
    plan.plan = {request.step.value * 10 + voids.size()};
    if (++asked_[request.step.value] == 1) {
      plan.waiting_for = "groups";
      return plan;
    }
    plan.ready = true;
    plan.finished = static_cast<int64_t>(request.step.value) > steps_;
    for (uint32_t i = 0; i < 4; ++i) {
      ScoredGroup group = tiny::Group(request.step.value, i);
      std::string hash = HashHex(EncodePayload(group));
      if (lose_a_group && request.step.value == 2 && i == 3 && voids.empty()) hash[0] = hash[0] == '0' ? '1' : '0';
      plan.groups.push_back({group.id, reward_->endpoint(), hash, i % kRanks, 50, DropReason::kNone});
    }
    return plan;
  }

  MessageBody Answer(const MessageBody& body) {
    std::scoped_lock lock(mutex);
    if (std::get_if<StatusRequest>(&body)) return StatusReply{"{\"ledger_sequence\": 7}"};
    if (std::get_if<Hello>(&body)) return Welcome{"run", {1}, static_cast<uint64_t>(epoch_), {}, {}, false};
    if (auto* plan = std::get_if<PlanRequest>(&body)) return Plan(*plan);
    if (auto* fetch = std::get_if<FetchGroup>(&body))
      return tiny::Group(WaveOf(fetch->group), static_cast<uint32_t>(fetch->group.value & 0xFFFFF));
    if (auto* vote = std::get_if<PlanVote>(&body)) {
      if (!vote->ok) voids.push_back(vote->bad_groups.at(0).value);
      return Ack{};
    }
    auto once = [](std::vector<uint64_t>& list, uint64_t value) {  // requests may be repeated
      if (list.empty() || list.back() != value) list.push_back(value);
    };
    if (auto* version = std::get_if<VersionAnnounce>(&body)) once(versions, version->info.version.value);
    if (auto* step = std::get_if<StepDone>(&body))
      once(done, step->report.step.value), metrics.push_back(step->report.metrics), reached = static_cast<int64_t>(step->report.step.value);
    if (auto* checkpoint = std::get_if<CheckpointDone>(&body)) once(checkpoints, checkpoint->step.value);
    return Ack{};
  }

  Transport& transport_;
  const std::string run_dir_;
  const int64_t steps_;
  int64_t epoch_ = 0;
  std::map<uint64_t, int> asked_;
  std::unique_ptr<MessageServer> reward_, coordinator_;
  std::atomic<bool> stop_ = false, coordinator_stop_ = false;
  NamedThread coordinator_thread_, reward_thread_;
};

struct World {
  World() : transport(MakeLocalTransport()) {
    model = folder.path() + "/model";
    std::filesystem::create_directories(model);
    std::filesystem::create_directories(folder.path() + "/run");
    EXPECT_TRUE(WriteFileAtomic(model + "/config.json", ConfigJson(tiny::Config(), "float32")));
    EXPECT_TRUE(WriteFileAtomic(model + "/tokenizer.json", "{}"));
    EXPECT_TRUE(SaveParameters(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1), model));
  }
  std::vector<Status> Run(int64_t steps, Sharding sharding, const std::atomic<bool>* stop = nullptr, int64_t peer_deadline_s = 20) {
    TrainerSetup setup;
    setup.run_dir = folder.path() + "/run", setup.run_id = "run", setup.model_folder = model, setup.device = "cpu", setup.dtype = "fp32",
    setup.deterministic = true;
    setup.format.tags = {"answer"}, setup.format.confidence = "none";
    setup.options.steps = steps, setup.options.sharding = Name(sharding), setup.options.schedule.lr = 3e-3,
    setup.options.checkpoint.checkpoint_every = 2, setup.options.ema_decay = 0.5;
    setup.options.peer_deadline_s = peer_deadline_s;
    ObjectiveOptions answer;
    answer.segment = "answer";
    setup.objectives = {answer};
    setup.transport = transport.get(), setup.stop = stop;
    return tiny::OnRanks<Status>(kRanks, [&](Collective& collective) { return ServeTrainer(setup, collective); });
  }
  std::string Weights(int64_t version) {
    const std::string assembled = folder.path() + "/v" + std::to_string(version);
    EXPECT_TRUE(AssembleVersion(folder.path() + "/run/weights", {static_cast<uint64_t>(version)}, assembled));
    return ReadFile(assembled + "/model.safetensors").value();
  }
  tiny::Folder folder;
  std::string model;
  std::unique_ptr<Transport> transport;
};

std::vector<uint64_t> Count(uint64_t from, uint64_t to) {
  std::vector<uint64_t> numbers;
  for (uint64_t i = from; i <= to; ++i) numbers.push_back(i);
  return numbers;
}

TEST(Learner, RunsToItsLastStepThroughAVoidPlan) {
  World world;
  FakePeers peers(*world.transport, world.folder.path() + "/run", 5);
  peers.lose_a_group = true;
  for (const Status& status : world.Run(5, Sharding::kZero3)) EXPECT_TRUE(status) << status.error().Message();
  EXPECT_EQ(peers.versions, Count(0, 5));
  EXPECT_EQ(peers.done, Count(1, 5));
  EXPECT_EQ(peers.checkpoints, (std::vector<uint64_t>{2, 4, 5}));
  EXPECT_EQ(peers.voids, std::vector<uint64_t>{MakeGroupId(2, 3).value});
  for (const char* name :
       {"reward/all/mean", "optim/grad_norm", "optim/lr", "entropy/all/mean", "mismatch_kl/all/mean", "mismatch_kl/all/max",
        "mismatch/abs/mean", "time/step", "time/wait_for_batch", "perf/throughput", "clip/fraction", "advantage/std"})
    EXPECT_TRUE(peers.metrics[0].count(name)) << name;
  EXPECT_TRUE(FileExists(world.folder.path() + "/run/weights/averaged/config.json"));
}

TEST(Learner, AResumedRunRepeatsTheSameWeights) {
  World straight, broken;
  {
    FakePeers peers(*straight.transport, straight.folder.path() + "/run", 5);
    for (const Status& status : straight.Run(5, Sharding::kZero2)) ASSERT_TRUE(status) << status.error().Message();
  }
  {
    FakePeers peers(*broken.transport, broken.folder.path() + "/run", 3);  // the first life ends after step 3
    for (const Status& status : broken.Run(5, Sharding::kZero2)) ASSERT_TRUE(status) << status.error().Message();
  }
  std::filesystem::remove_all(broken.folder.path() + "/run/checkpoints/step_00000003");  // it died before this one
  FakePeers peers(*broken.transport, broken.folder.path() + "/run", 5);
  for (const Status& status : broken.Run(5, Sharding::kZero2)) ASSERT_TRUE(status) << status.error().Message();
  EXPECT_EQ(peers.versions, Count(2, 5));
  EXPECT_EQ(peers.done, Count(3, 5));
  EXPECT_TRUE(straight.Weights(5) == broken.Weights(5));
  EXPECT_FALSE(straight.Weights(4) == broken.Weights(5));  // the control
}

TEST(Learner, ComesBackAfterTheEndAndNeedsNoCoordinator) {
  World world;
  const std::string run_dir = world.folder.path() + "/run";
  {
    FakePeers peers(*world.transport, run_dir, 2);
    for (const Status& status : world.Run(2, Sharding::kNone)) ASSERT_TRUE(status) << status.error().Message();
    EXPECT_EQ(peers.checkpoints.back(), 2u);
  }
  std::filesystem::remove_all(run_dir + "/weights/averaged");  // it died before it wrote the result
  ASSERT_TRUE(RecordRunFinished(run_dir, 2));                  // and the coordinator left
  for (const Status& status : world.Run(2, Sharding::kNone)) EXPECT_TRUE(status) << status.error().Message();
  EXPECT_TRUE(FileExists(run_dir + "/weights/averaged/config.json"));
}

TEST(Learner, AStopKeepsWhatWasLearned) {
  World world;
  std::atomic<bool> stop = false;
  FakePeers peers(*world.transport, world.folder.path() + "/run", 1'000'000);
  NamedThread stopper("stopper", [&] {
    while (peers.reached < 3) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    stop = true;
  });
  for (const Status& status : world.Run(1'000'000, Sharding::kNone, &stop)) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kCancelled);
  }
  EXPECT_EQ(peers.checkpoints.back(), peers.done.back());
}

TEST(Learner, FindsACoordinatorThatCameBackElsewhere) {
  World world;
  FakePeers peers(*world.transport, world.folder.path() + "/run", 6);
  NamedThread restarter("restarter", [&] {
    while (peers.reached < 2) std::this_thread::sleep_for(std::chrono::milliseconds(5));
    peers.StartCoordinator();
  });
  for (const Status& status : world.Run(6, Sharding::kNone)) EXPECT_TRUE(status) << status.error().Message();
  EXPECT_EQ(peers.done, Count(1, 6));
}

TEST(Learner, GivesUpOnASilentCoordinatorByName) {
  World world;
  for (const Status& status : world.Run(5, Sharding::kNone, nullptr, 1)) {
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
    EXPECT_NE(status.error().Message().find("coordinator"), std::string::npos);
  }
}

}  // namespace
}  // namespace candor
