// The rollout role against a played coordinator and reward worker, over a wire that drops and doubles messages: every group arrives,
// written by a version its lease allows.
#include "rollout/worker.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <set>
#include <thread>

#include "core/fs.h"
#include "core/thread.h"
#include "proto/messages.h"
#include "tests/unit/rollout/tiny_fixture.h"
#include "weights/manifest.h"

namespace candor {
namespace {

class Folder {
 public:
  Folder() {
    std::string name = testing::TempDir() + "rollout_worker_XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

void Write(const std::string& path, const std::string& text) {
  std::filesystem::create_directories(std::filesystem::path(path).parent_path());
  std::ofstream(path, std::ios::binary) << text;
}

// As a trainer of one rank writes it: one chunk, in full.
VersionInfo WriteVersion(const std::string& run_dir, uint64_t version) {
  const std::string folder = VersionFolder(run_dir + "/weights", {version});
  std::filesystem::create_directories(folder);
  const ModelConfig config = TinyConfig();
  const Parameters parameters = TinyParameters(config, version + 1);
  std::string image;
  VersionManifest manifest{{version}, "F32", ConfigJson(config, "float32"), {}, {}};
  for (size_t unit = 0; unit < parameters.unit_count(); ++unit) {
    image.append(static_cast<const char*>(parameters.Flat(unit).data_ptr()), parameters.Flat(unit).nbytes());
    for (const ParamSpec& param : parameters.units()[unit].params) manifest.tensors.push_back({param.name, param.shape});
  }
  manifest.chunks = {{0, image.size(), HashHex(image)}};
  const VersionPacking packing{{version}, {{Blob{0, 0, image.size(), HashHex(image)}, std::nullopt, false}}};
  Write(ChunkFile(folder, 0), image);
  Write(folder + "/packing.json", ToJson(packing));
  Write(folder + "/manifest.json", ToJson(manifest));
  return {PolicyVersion{version}, folder + "/manifest.json", HashHex(ToJson(manifest))};
}

// Hands out leases, notes what comes back.
struct PlayedRun {
  explicit PlayedRun(LocalFaults faults = {}) : transport(MakeLocalTransport(faults)) {
    Write(folder.path() + "/tokenizer/tokenizer.json", TinyTokenizerJson());
    for (int i = 0; i < 8; ++i) {
      DataRow row;
      row.prompt = "question " + std::to_string(i);
      rows.rows.push_back(row);
    }
  }
  // One coordinator; returns when `until` says so.
  void Coordinate(uint64_t epoch, const std::function<bool()>& until) {
    auto server = transport->Listen("coordinator." + std::to_string(epoch), Role::kCoordinator, kMaxControlBytes);
    ASSERT_TRUE(server);
    Write(folder.path() + "/endpoint." + std::to_string(epoch),
          nlohmann::json{{"epoch", epoch}, {"endpoint", (*server)->endpoint()}, {"http", ""}}.dump());
    while (!until()) {
      auto incoming = (*server)->Receive(10);
      ASSERT_TRUE(incoming);
      if (!*incoming) continue;
      auto message = Decode((*incoming)->body);
      ASSERT_TRUE(message);
      EXPECT_TRUE((*server)->Send((*incoming)->peer, Encode({"run", message->sequence, "coordinator", Answer(message->body, epoch)})));
    }
  }
  MessageBody Answer(const MessageBody& body, uint64_t epoch) {
    const std::scoped_lock lock(mutex);
    if (auto* hello = std::get_if<Hello>(&body)) {
      hellos.push_back(*hello);
      return Welcome{"run", {}, epoch, newest.version, {}, false};
    }
    if (auto* failed = std::get_if<GroupFailed>(&body)) {
      failures[failed->group] = *failed;
      return Ack{};
    }
    if (auto* beat = std::get_if<WorkerHeartbeat>(&body)) {
      ++heartbeats;
      for (const OpenLease& lease : beat->open_leases) progress = std::max(progress, lease.tokens_done);
      return HeartbeatReply{newest, {}, {reward_endpoint}, finished};
    }
    const auto& request = std::get<LeaseRequest>(body);
    LeaseGrant grant;
    grant.newest = newest, grant.finished = finished, grant.waiting_for = "the test";
    while (!open.empty() && grant.leases.size() < request.free_groups) grant.leases.push_back(open.front()), open.erase(open.begin());
    for (const Lease& lease : grant.leases) leased[lease.group] = lease;
    return grant;
  }
  void Reward(const std::function<bool()>& until) {
    auto server = transport->Listen("reward", Role::kReward, kMaxPayloadBytes);
    ASSERT_TRUE(server);
    {
      const std::scoped_lock lock(mutex);
      reward_endpoint = (*server)->endpoint();
    }
    while (!until()) {
      auto incoming = (*server)->Receive(10);
      ASSERT_TRUE(incoming);
      if (!*incoming) continue;
      auto message = Decode((*incoming)->body);
      ASSERT_TRUE(message);
      const auto& group = std::get<TraceGroup>(message->body);
      const std::scoped_lock lock(mutex);
      if (unanswered.insert(group.id).second) continue;  // the first delivery gets no answer
      results[group.id] = group;
      EXPECT_TRUE((*server)->Send((*incoming)->peer, Encode({"run", message->sequence, "reward-0", GroupSpooled{group.id, true, ""}})));
    }
  }
  void AddLease(uint64_t wave, uint32_t position, uint64_t min, uint64_t max, uint32_t row) {
    const std::scoped_lock lock(mutex);
    open.push_back(
        {MakeGroupId(wave, position), {"train", row}, StepId{wave}, 3, 1, PolicyVersion{min}, PolicyVersion{max}, reward_endpoint});
  }
  RolloutSetup Setup() {
    RolloutSetup setup;
    setup.run_dir = folder.path(), setup.run_id = "run", setup.seed = 5;
    setup.tokenizer_folder = folder.path() + "/tokenizer";
    setup.format.tags = {}, setup.format.confidence = "none", setup.format.system_prompt = "";
    setup.data["train"] = &rows;
    setup.transport = transport.get(), setup.stop = &stop, setup.backoff_first_ms = 20;
    return setup;
  }
  RolloutOptions Options() {
    RolloutOptions options;
    options.engine = TinyEngineOptions(false);
    options.sampling.max_new_tokens = 12;
    return options;
  }
  size_t Results() {
    const std::scoped_lock lock(mutex);
    return results.size();
  }
  size_t Failures() {
    const std::scoped_lock lock(mutex);
    return failures.size();
  }

  Folder folder;
  std::unique_ptr<Transport> transport;
  DataSet rows;
  std::mutex mutex;
  std::atomic<bool> stop = false, over = false;
  std::vector<Lease> open;
  std::map<GroupId, Lease> leased;
  std::map<GroupId, TraceGroup> results;
  std::map<GroupId, GroupFailed> failures;
  std::set<GroupId> unanswered;
  std::vector<Hello> hellos;
  std::string reward_endpoint = "reward";
  VersionInfo newest;
  bool finished = false;
  int heartbeats = 0;
  uint64_t progress = 0;
};

bool Wait(const std::function<bool()>& done, int seconds = 60) {
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(seconds);
  while (!done())
    if (std::chrono::steady_clock::now() > end)
      return false;
    else
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  return true;
}

TEST(RolloutWorker, EveryLeaseBecomesAResultOfAnAllowedVersion) {
  PlayedRun run({.seed = 4, .drop = 0.05, .duplicate = 0.1});
  run.newest = WriteVersion(run.folder.path(), 0);
  for (uint32_t i = 0; i < 5; ++i) run.AddLease(1, i, 0, 0, i);
  Status served;
  const NamedThread coordinator("coordinator", [&] { run.Coordinate(1, [&] { return run.over.load(); }); });
  const NamedThread reward("reward", [&] { run.Reward([&] { return run.over.load(); }); });
  NamedThread worker("worker", [&] { served = ServeRollout(run.Options(), run.Setup()); });
  EXPECT_TRUE(Wait([&] { return run.Results() == 5; }));
  const VersionInfo v1 = WriteVersion(run.folder.path(), 1);
  {
    const std::scoped_lock lock(run.mutex);
    run.newest = v1;
  }
  for (uint32_t i = 0; i < 3; ++i) run.AddLease(2, i, 0, 1, i);
  run.AddLease(3, 0, 0, 0, 6);  // exactly version 0, although 1 is out
  EXPECT_TRUE(Wait([&] { return run.Results() == 9; }));
  {
    const std::scoped_lock lock(run.mutex);
    run.finished = true;
  }
  worker.Join();
  run.over = true;
  EXPECT_TRUE(served) << served.error().Message();
  std::set<uint64_t> versions;
  for (const auto& [id, group] : run.results) {
    const Lease& lease = run.leased.at(id);
    EXPECT_EQ(group.wave, lease.wave);
    EXPECT_EQ(group.prompt.row, lease.prompt.row);
    EXPECT_EQ(group.worker, "rollout-0");
    ASSERT_EQ(group.traces_G.size(), 4u);
    EXPECT_TRUE(group.traces_G[3].greedy);
    for (const Trace& trace : group.traces_G)
      for (uint64_t version : trace.version_T) {
        EXPECT_TRUE(lease.min_version.value <= version && version <= lease.max_version.value);
        versions.insert(version);
      }
  }
  EXPECT_EQ(versions, (std::set<uint64_t>{0, 1}));
  EXPECT_TRUE(run.failures.empty());
  EXPECT_GT(run.heartbeats, 0);
}

// Groups of one row, written by a worker that scores its reference answer or not.
TraceGroup WrittenBy(bool score_reference) {
  PlayedRun run;
  run.newest = WriteVersion(run.folder.path(), 0);
  run.rows.rows[2].answers = {"Paris", "paris"};
  run.AddLease(1, 0, 0, 0, 2);
  Status served;
  const NamedThread coordinator("coordinator", [&] { run.Coordinate(1, [&] { return run.over.load(); }); });
  const NamedThread reward("reward", [&] { run.Reward([&] { return run.over.load(); }); });
  RolloutSetup setup = run.Setup();
  setup.format.tags = {"think", "answer"};
  setup.score_reference = score_reference;
  NamedThread worker("worker", [&] { served = ServeRollout(run.Options(), setup); });
  EXPECT_TRUE(Wait([&] { return run.Results() == 1; }));
  run.stop = true;
  worker.Join();
  run.over = true;
  EXPECT_TRUE(served) << served.error().Message();
  return run.results.empty() ? TraceGroup{} : run.results.begin()->second;
}

TEST(RolloutWorker, ScoresTheReferenceAnswerOnlyWhereTheRecipeReadsIt) {
  const TraceGroup scored = WrittenBy(true), plain = WrittenBy(false);
  ASSERT_EQ(scored.reference_base_R.size(), 5u) << "the first accepted answer, a byte a token";
  for (float l : scored.reference_base_R) EXPECT_LT(l, 0.0f);
  EXPECT_TRUE(plain.reference_base_R.empty());
  EXPECT_EQ(scored.traces_G[0].tokens_T, plain.traces_G[0].tokens_T) << "scoring draws no random number";
}

TEST(RolloutWorker, ACoordinatorThatIsReplacedIsToldWhatIsOpen) {
  PlayedRun run;
  run.newest = WriteVersion(run.folder.path(), 0);
  for (uint32_t i = 0; i < 4; ++i) run.AddLease(1, i, 0, 0, i);
  Status served;
  std::atomic<bool> first_over = false;
  NamedThread first("first", [&] { run.Coordinate(1, [&] { return first_over.load(); }); });
  NamedThread worker("worker", [&] { served = ServeRollout(run.Options(), run.Setup()); });
  // No reward worker yet: results are kept.
  EXPECT_TRUE(Wait([&] {
    const std::scoped_lock lock(run.mutex);
    return run.leased.size() == 4 && run.heartbeats > 0;
  }));
  first_over = true;
  first.Join();
  const NamedThread second("second", [&] { run.Coordinate(2, [&] { return run.over.load(); }); });
  EXPECT_TRUE(Wait([&] {
    const std::scoped_lock lock(run.mutex);
    return run.hellos.size() >= 2;
  }));
  // Only now is there somebody to take them.
  const NamedThread reward("reward", [&] { run.Reward([&] { return run.over.load(); }); });
  EXPECT_TRUE(Wait([&] { return run.Results() == 4; }));
  run.stop = true;
  worker.Join();
  run.over = true;
  EXPECT_TRUE(served);
  ASSERT_GE(run.hellos.size(), 2u);
  EXPECT_EQ(run.hellos.back().incarnation, run.hellos.front().incarnation);
  EXPECT_FALSE(run.hellos[1].open_leases.empty());
}

TEST(RolloutWorker, DamagedWeightsAndUnknownRowsAreToldByName) {
  PlayedRun run;
  run.newest = WriteVersion(run.folder.path(), 0);
  const std::string weights = run.folder.path() + "/weights/v0/rank_0.chunks";
  std::string bytes = *ReadFile(weights);
  bytes[bytes.size() - 5] ^= 1;
  Write(weights, bytes);
  run.AddLease(1, 0, 0, 0, 0);
  Status served;
  const NamedThread coordinator("coordinator", [&] { run.Coordinate(1, [&] { return run.over.load(); }); });
  NamedThread worker("worker", [&] { served = ServeRollout(run.Options(), run.Setup()); });
  EXPECT_TRUE(Wait([&] { return run.Failures() == 1; }));
  bytes[bytes.size() - 5] ^= 1;
  Write(weights, bytes);
  run.AddLease(1, 1, 0, 0, 77);
  EXPECT_TRUE(Wait([&] { return run.Failures() == 2; }));
  run.stop = true;
  worker.Join();
  run.over = true;
  EXPECT_TRUE(served);
  const GroupFailed& damaged = run.failures.at(MakeGroupId(1, 0));
  EXPECT_NE(damaged.reason.find("chunk 0"), std::string::npos) << damaged.reason;
  EXPECT_FALSE(damaged.final);
  const GroupFailed& unknown = run.failures.at(MakeGroupId(1, 1));
  EXPECT_NE(unknown.reason.find("row 77"), std::string::npos) << unknown.reason;
  EXPECT_TRUE(unknown.final);
}

}  // namespace
}  // namespace candor
