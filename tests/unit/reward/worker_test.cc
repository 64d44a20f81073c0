// The reward role from end to end over the local transport: a made-up rollout worker, coordinator and trainer around the real worker.
#include "reward/worker.h"

#include <fmt/format.h>

#include <thread>

#include "calibration/sketch.h"
#include "core/fs.h"
#include "proto/messages.h"
#include "tests/unit/reward/testing.h"

namespace candor {
namespace {

using testing::MakeTrace;
using testing::Row;
using testing::TempFolder;
using testing::Verbal;

// Answers Hello and GroupScored as a coordinator would, and remembers.
class FakeCoordinator {
 public:
  FakeCoordinator(Transport& transport, const std::string& run_dir, uint64_t epoch)
      : server_(*transport.Listen("local:0", Role::kCoordinator, kMaxControlBytes)), thread_([this] { Serve(); }) {
    EXPECT_TRUE(WriteFileAtomic(run_dir + "/endpoint." + std::to_string(epoch),
                                R"({"epoch":)" + std::to_string(epoch) + R"(,"endpoint":")" + server_->endpoint() + R"("})")
                    .has_value());
  }
  ~FakeCoordinator() {
    stop_ = true;
    thread_.join();
  }
  bool WaitFor(const std::function<bool()>& done) {
    for (int i = 0; i < 1000; ++i) {
      {
        std::scoped_lock lock(mutex);
        if (done()) return true;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  std::mutex mutex;
  std::vector<Hello> hellos;
  std::map<uint64_t, GroupScored> scored;
  uint64_t release_through = 0;
  std::vector<GroupId> forget;
  bool finished = false;

 private:
  void Serve() {
    while (!stop_) {
      Result<std::optional<IncomingMessage>> incoming = server_->Receive(5);
      if (!incoming || !*incoming) continue;
      Result<Message> message = Decode((*incoming)->body);
      if (!message) continue;
      std::scoped_lock lock(mutex);
      MessageBody reply = Error{ErrorCode::kInvalidInput, "not for a coordinator", "", "", false};
      if (auto* hello = std::get_if<Hello>(&message->body)) {
        hellos.push_back(*hello);
        reply = Welcome{"run", {1}, 1, {0}, {0}, finished};
      } else if (auto* header = std::get_if<GroupScored>(&message->body)) {
        scored[header->group.value] = *header;
        reply = Ack{true, "", {release_through}, forget, finished};
      } else if (std::get_if<WorkerHeartbeat>(&message->body)) {
        HeartbeatReply beat;
        beat.finished = finished;
        reply = beat;
      }
      (void)server_->Send((*incoming)->peer, Encode({"run", message->sequence, "coordinator", reply}));
    }
  }
  std::unique_ptr<MessageServer> server_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

// The worker on a thread of its own, with one data set of two rows.
class Worker {
 public:
  Worker(Transport& transport, const std::string& run_dir, RewardOptions options = {}) : options_(std::move(options)) {
    options_.threads = 2;
    options_.bind = "local:0";
    data_.rows = {Row({"France"}), Row({})};
    data_.rows[0].slices = {"europe"};
    setup_.run_dir = run_dir;
    setup_.run_id = "run";
    setup_.format = *TagFormat::From(std::vector<std::string>{"answer", "confidence"}, "verbal");
    setup_.data = {{"train", &data_}, {"dev", &data_}};
    setup_.transport = &transport;
    setup_.stop = &stop_;
    setup_.backoff_first_ms = 20;
    setup_.call_deadline_ms = 500;
    thread_ = std::thread([this] { status_ = ServeReward(options_, setup_); });
  }
  ~Worker() { Stop(); }
  Status Stop() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    return status_;
  }
  Status Join() {
    thread_.join();
    return status_;
  }

 private:
  RewardOptions options_;
  RewardSetup setup_;
  DataSet data_;
  std::atomic<bool> stop_ = false;
  Status status_;
  std::thread thread_;
};

TraceGroup Group(GroupId id, std::vector<std::string> texts, PromptRef prompt = {"train", 0}) {
  TraceGroup group;
  group.id = id;
  group.prompt = std::move(prompt);
  group.wave = {WaveOf(id)};
  group.prompt_tokens_P = {5, 6, 7};
  group.worker = "rollout-0";
  for (size_t i = 0; i < texts.size(); ++i) group.traces_G.push_back(MakeTrace(static_cast<int>(i), texts[i]));
  return group;
}

struct Peer {
  Peer(Transport& transport, const std::string& endpoint, Role role, const std::string& run = "run")
      : client(*transport.Connect(endpoint, role, Role::kReward, kMaxPayloadBytes)), caller(*client, run, "peer") {}
  std::unique_ptr<MessageClient> client;
  Caller caller;
};

TEST(RewardWorker, TracesComeInAndAScoredGroupIsFetched) {
  for (double loss : {0.0, 0.2}) {  // and the same through a network that drops and doubles messages
    TempFolder folder;
    auto transport = MakeLocalTransport({7, loss, loss / 2});
    FakeCoordinator coordinator(*transport, folder.path(), 1);
    Worker worker(*transport, folder.path());
    ASSERT_TRUE(coordinator.WaitFor([&] { return !coordinator.hellos.empty(); }));
    std::string endpoint = coordinator.hellos[0].endpoint;
    EXPECT_EQ(coordinator.hellos[0].worker, "reward-0");
    Peer rollout(*transport, endpoint, Role::kRollout), trainer(*transport, endpoint, Role::kTrainer);
    GroupId id = MakeGroupId(1, 0);
    Result<GroupSpooled> spooled =
        rollout.caller.Ask<GroupSpooled>(Group(id, {Verbal("France", "0.9"), Verbal("Spain", "0.2")}), "traces", 10000, 50);
    ASSERT_TRUE(spooled.has_value()) << spooled.error().Message();
    EXPECT_TRUE(spooled->ok);
    ASSERT_TRUE(coordinator.WaitFor([&] { return coordinator.scored.count(id.value) > 0; }));
    GroupScored header = coordinator.scored[id.value];
    EXPECT_EQ(header.correct, 1u);
    EXPECT_EQ(header.wrong, 1u);
    EXPECT_EQ(header.drop, DropReason::kNone);
    EXPECT_EQ(header.reward_endpoint, endpoint);
    EXPECT_EQ(calibration::CalSketch::Decode(header.sketches.at("verbal"))->n(), 2);
    Result<ScoredGroup> fetched = trainer.caller.Ask<ScoredGroup>(FetchGroup{id, header.hash}, "fetch", 10000, 50);
    ASSERT_TRUE(fetched.has_value()) << fetched.error().Message();
    EXPECT_EQ(HashHex(EncodePayload(*fetched)), header.hash);
    EXPECT_EQ(fetched->traces_G[0].channels.at("accuracy"), 1.0);
    EXPECT_EQ(fetched->traces_G[1].channels.at("accuracy"), 0.0);
    EXPECT_TRUE(worker.Stop().has_value());
  }
}

TEST(RewardWorker, StrangersAndNonsenseAreRefusedByName) {
  TempFolder folder;
  auto transport = MakeLocalTransport();
  FakeCoordinator coordinator(*transport, folder.path(), 1);
  Worker worker(*transport, folder.path());
  ASSERT_TRUE(coordinator.WaitFor([&] { return !coordinator.hellos.empty(); }));
  std::string endpoint = coordinator.hellos[0].endpoint;
  Peer rollout(*transport, endpoint, Role::kRollout), trainer(*transport, endpoint, Role::kTrainer),
      foreign(*transport, endpoint, Role::kRollout, "another run");
  auto code = [](Peer& peer, MessageBody body) { return peer.caller.Call(std::move(body), "this", 3000, 200).error().code; };
  TraceGroup good = Group(MakeGroupId(1, 1), {Verbal("France", "0.9")});
  EXPECT_EQ(code(trainer, good), ErrorCode::kUnauthorized);
  EXPECT_EQ(code(rollout, FetchGroup{good.id, ""}), ErrorCode::kUnauthorized);
  EXPECT_EQ(code(foreign, good), ErrorCode::kUnauthorized);
  EXPECT_EQ(code(trainer, FetchGroup{good.id, ""}), ErrorCode::kNotFound);
  EXPECT_EQ(code(rollout, Group(good.id, {"x"}, {"train", 99})), ErrorCode::kInvalidInput);
  EXPECT_EQ(code(rollout, Group(good.id, {"x"}, {"other", 0})), ErrorCode::kInvalidInput);
  EXPECT_EQ(code(rollout, Group(good.id, {})), ErrorCode::kInvalidInput);
  EXPECT_EQ(code(rollout, StatusRequest{}), ErrorCode::kInvalidInput);
  ASSERT_TRUE(rollout.client->Send("no message at all").has_value());
  EXPECT_TRUE(rollout.caller.Ask<GroupSpooled>(good, "traces", 3000, 200).has_value());
}

TEST(RewardWorker, DroppedGroupsAreStillObservedAndEvaluationsLeaveTheDisk) {
  TempFolder folder;
  auto transport = MakeLocalTransport();
  FakeCoordinator coordinator(*transport, folder.path(), 1);
  Worker worker(*transport, folder.path());
  ASSERT_TRUE(coordinator.WaitFor([&] { return !coordinator.hellos.empty(); }));
  Peer rollout(*transport, coordinator.hellos[0].endpoint, Role::kRollout);
  GroupId all_wrong = MakeGroupId(1, 0), eval{uint64_t{1} << 63};
  ASSERT_TRUE(
      rollout.caller.Ask<GroupSpooled>(Group(all_wrong, {Verbal("Spain", "0.9"), Verbal("Peru", "0.4")}), "traces", 5000).has_value());
  TraceGroup evaluation = Group(eval, {Verbal("France", "0.75")}, {"dev", 1});  // a row that accepts no answer
  evaluation.traces_G[0].greedy = true;
  ASSERT_TRUE(rollout.caller.Ask<GroupSpooled>(evaluation, "traces", 5000).has_value());
  ASSERT_TRUE(coordinator.WaitFor([&] { return coordinator.scored.size() == 2; }));
  EXPECT_EQ(coordinator.scored[all_wrong.value].drop, DropReason::kNoVariance);
  EXPECT_EQ(calibration::CalSketch::Decode(coordinator.scored[all_wrong.value].sketches.at("verbal"))->n(), 2);
  const GroupScored& header = coordinator.scored[eval.value];
  EXPECT_EQ(header.drop, DropReason::kEvaluation);
  EXPECT_EQ(header.wrong, 1u);
  EXPECT_EQ(header.unknown, 0u);
  EXPECT_EQ(header.traces, 1u);
  EXPECT_EQ(header.sketches.count("verbal/greedy"), 1u);
  EXPECT_TRUE(worker.Stop().has_value());
  size_t files = 0;
  for (const auto& file : std::filesystem::directory_iterator(folder.path() + "/spool/reward-0"))
    files += file.path().extension() == ".group";
  EXPECT_EQ(files, 1u);
}

TEST(RewardWorker, ARestartAnnouncesWhatIsOnDiskAndTheCoordinatorReleasesIt) {
  TempFolder folder;
  auto transport = MakeLocalTransport();
  GroupId first = MakeGroupId(1, 0), second = MakeGroupId(2, 0);
  {
    Worker worker(*transport, folder.path());  // no coordinator yet: groups are taken and kept all the same
    std::unique_ptr<FakeCoordinator> coordinator;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    coordinator = std::make_unique<FakeCoordinator>(*transport, folder.path(), 1);
    ASSERT_TRUE(coordinator->WaitFor([&] { return !coordinator->hellos.empty(); }));
    Peer rollout(*transport, coordinator->hellos[0].endpoint, Role::kRollout);
    coordinator.reset();  // dies
    ASSERT_TRUE(
        rollout.caller.Ask<GroupSpooled>(Group(first, {Verbal("France", "0.9"), Verbal("Spain", "0.2")}), "traces", 5000).has_value());
    ASSERT_TRUE(
        rollout.caller.Ask<GroupSpooled>(Group(second, {Verbal("France", "0.9"), Verbal("Spain", "0.2")}), "traces", 5000).has_value());
  }
  FakeCoordinator coordinator(*transport, folder.path(), 2);  // the next life, at a newer endpoint
  {
    std::scoped_lock lock(coordinator.mutex);
    coordinator.release_through = 1;
  }
  Worker worker(*transport, folder.path());
  ASSERT_TRUE(coordinator.WaitFor([&] { return coordinator.scored.size() == 2; }));
  ASSERT_FALSE(coordinator.hellos.empty());
  EXPECT_EQ(coordinator.hellos[0].spooled, (std::vector<GroupId>{first, second}));
  Peer trainer(*transport, coordinator.hellos[0].endpoint, Role::kTrainer);
  EXPECT_TRUE(trainer.caller.Ask<ScoredGroup>(FetchGroup{second, coordinator.scored[second.value].hash}, "fetch", 5000).has_value());
  EXPECT_EQ(trainer.caller.Call(FetchGroup{first, ""}, "fetch", 5000).error().code, ErrorCode::kNotFound);
}

TEST(RewardWorker, AGroupThatComesAfterItsStepWasCoveredLeavesTheDiskToo) {
  TempFolder folder;
  auto transport = MakeLocalTransport();
  FakeCoordinator coordinator(*transport, folder.path(), 1);
  {
    std::scoped_lock lock(coordinator.mutex);
    coordinator.release_through = 1;
  }
  Worker worker(*transport, folder.path());
  ASSERT_TRUE(coordinator.WaitFor([&] { return !coordinator.hellos.empty(); }));
  Peer rollout(*transport, coordinator.hellos[0].endpoint, Role::kRollout);
  GroupId kept = MakeGroupId(2, 0), late = MakeGroupId(1, 0);
  for (GroupId id : {kept, late}) {  // the first acknowledgement releases step 1, the second says nothing new
    ASSERT_TRUE(rollout.caller.Ask<GroupSpooled>(Group(id, {Verbal("France", "0.9"), Verbal("Spain", "0.2")}), "traces", 5000).has_value());
    ASSERT_TRUE(coordinator.WaitFor([&] { return coordinator.scored.count(id.value) > 0; }));
  }
  EXPECT_TRUE(worker.Stop().has_value());
  std::vector<std::string> files;
  for (const auto& file : std::filesystem::directory_iterator(folder.path() + "/spool/reward-0"))
    if (file.path().extension() == ".group") files.push_back(file.path().stem());
  EXPECT_EQ(files, std::vector<std::string>{fmt::format("{:016x}", kept.value)});
}

TEST(RewardWorker, ANewCoordinatorHearsOfEverySpooledGroupAgain) {
  TempFolder folder;
  auto transport = MakeLocalTransport();
  auto old_life = std::make_unique<FakeCoordinator>(*transport, folder.path(), 1);
  Worker worker(*transport, folder.path());
  ASSERT_TRUE(old_life->WaitFor([&] { return !old_life->hellos.empty(); }));
  Peer rollout(*transport, old_life->hellos[0].endpoint, Role::kRollout);
  ASSERT_TRUE(rollout.caller.Ask<GroupSpooled>(Group(MakeGroupId(1, 0), {Verbal("France", "0.9"), Verbal("Spain", "0.2")}), "traces", 5000)
                  .has_value());
  ASSERT_TRUE(old_life->WaitFor([&] { return old_life->scored.size() == 1; }));
  old_life.reset();
  FakeCoordinator new_life(*transport, folder.path(), 2);
  EXPECT_TRUE(new_life.WaitFor([&] { return new_life.scored.size() == 1; }));
  {
    std::scoped_lock lock(new_life.mutex);
    new_life.finished = true;
  }
  EXPECT_TRUE(worker.Join().has_value());  // leaves by itself when the run is over
}

TEST(RewardWorker, MoreGroupsThanItHoldsGetNoAnswerAndComeBack) {
  TempFolder folder;
  auto transport = MakeLocalTransport();
  FakeCoordinator coordinator(*transport, folder.path(), 1);
  RewardOptions options;
  options.max_in_flight = 1;
  VerifierOptions slow;
  slow.name = "slow";
  slow.command = {"python3", "-S",
                  folder.Write("slow.py",
                               "import json,sys,time\nfor l in sys.stdin:\n  time.sleep(0.4)\n  "
                               "print(json.dumps({'id':json.loads(l)['id'],'label':'correct'}),flush=True)\n")};
  options.verifiers = {slow};
  Worker worker(*transport, folder.path(), options);
  ASSERT_TRUE(coordinator.WaitFor([&] { return !coordinator.hellos.empty(); }));
  Peer one(*transport, coordinator.hellos[0].endpoint, Role::kRollout), two(*transport, coordinator.hellos[0].endpoint, Role::kRollout);
  std::thread first(
      [&] { EXPECT_TRUE(one.caller.Ask<GroupSpooled>(Group(MakeGroupId(1, 0), {Verbal("a", "0.9")}), "traces", 10000, 50).has_value()); });
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  EXPECT_FALSE(two.caller.Ask<GroupSpooled>(Group(MakeGroupId(1, 1), {Verbal("b", "0.9")}), "traces", 100, 1000).has_value());
  EXPECT_TRUE(two.caller.Ask<GroupSpooled>(Group(MakeGroupId(1, 1), {Verbal("b", "0.9")}), "traces", 10000, 50).has_value());
  first.join();
}

}  // namespace
}  // namespace candor
