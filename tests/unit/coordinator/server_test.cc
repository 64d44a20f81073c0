// The coordinator as a process, with real sockets, keys and files: small rollout, reward and trainer clients drive it through a run; it is
// stopped and started again in the middle, fenced by a newer one, and asked over HTTP. At the end the ledger on disk balances and the
// metrics name every step once.
#include "coordinator/server.h"

#include <gtest/gtest.h>
#include <httplib.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <thread>

#include "calibration/sketch.h"
#include "coordinator/accounting.h"
#include "coordinator/ledger.h"
#include "core/epoch.h"
#include "core/fs.h"
#include "core/thread.h"
#include "proto/messages.h"

namespace candor {
namespace {

using nlohmann::json;

RunPlan SmallPlan() {
  RunPlan plan;
  plan.run_id = "small";
  plan.steps = 3, plan.prompts_per_step = 3, plan.group_size = 2, plan.greedy_traces = 1, plan.staleness = 1;
  plan.datasets = {{"train", 5, 1.0}};
  plan.evals = {{"dev", 2, 0}};
  return plan;
}

class RunFolder {
 public:
  RunFolder() {
    std::string name = (std::filesystem::temp_directory_path() / "candor-run-XXXXXX").string();
    path_ = mkdtemp(name.data());
    keys_ = *MakeRunKeys();
    EXPECT_TRUE(WriteRunKeys(keys_, path_));
  }
  ~RunFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }
  const RunKeys& keys() const { return keys_; }

 private:
  std::string path_;
  RunKeys keys_;
};

class RunningCoordinator {
 public:
  explicit RunningCoordinator(const RunFolder& folder, double linger_s = 0.5) {
    options_.linger_s = linger_s;
    options_.restart_grace_s = 0.05;
    const uint64_t before = Newest(folder);
    thread_ = NamedThread("coordinator", [this, &folder] {
      result_ = ServeCoordinator(SmallPlan(), options_, folder.path(), {&stop_, nullptr}), ended_ = true;
    });
    for (int i = 0; i < 1000 && Newest(folder) == before && !ended_; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const uint64_t now = Newest(folder);
    EXPECT_GT(now, before);
    if (now > before) address_ = json::parse(*ReadFile(folder.path() + "/endpoint." + std::to_string(now)));
  }
  ~RunningCoordinator() { (void)Stop(); }
  Status Stop() {
    stop_ = true;
    thread_.Join();
    return result_;
  }
  Status Join() {
    thread_.Join();
    return result_;
  }
  std::string endpoint() const { return address_.value("endpoint", ""); }
  std::string http() const { return address_.value("http", ""); }

 private:
  static uint64_t Newest(const RunFolder& folder) {
    auto numbers = NumberedEntries(folder.path(), "endpoint.");
    return numbers.empty() ? 0 : numbers.back();
  }
  CoordinatorOptions options_;
  std::atomic<bool> stop_{false}, ended_{false};
  Status result_;
  json address_ = json::object();
  NamedThread thread_;
};

// All three clients of a run, connected to one coordinator.
struct Clients {
  Clients(Transport& transport, const std::string& endpoint)
      : rollout_wire(*transport.Connect(endpoint, Role::kRollout, Role::kCoordinator, kMaxControlBytes)),
        reward_wire(*transport.Connect(endpoint, Role::kReward, Role::kCoordinator, kMaxControlBytes)),
        trainer_wire(*transport.Connect(endpoint, Role::kTrainer, Role::kCoordinator, kMaxControlBytes)),
        rollout(*rollout_wire, "small", "rollout-0"),
        reward(*reward_wire, "small", "reward-0"),
        trainer(*trainer_wire, "small", "trainer") {}
  std::unique_ptr<MessageClient> rollout_wire, reward_wire, trainer_wire;
  Caller rollout, reward, trainer;
};

constexpr int kDeadlineMs = 10000;

VersionInfo Version(uint64_t v) { return {{v}, "weights/v" + std::to_string(v) + "/manifest.json", "hash" + std::to_string(v)}; }

GroupScored Score(const Lease& lease) {
  GroupScored h;
  h.group = lease.group, h.prompt = lease.prompt, h.wave = lease.wave;
  h.reward_worker = "reward-0", h.reward_endpoint = lease.reward_endpoint, h.hash = "payload" + std::to_string(lease.group.value);
  h.oldest_version = h.newest_version = lease.min_version;
  h.traces = lease.traces + lease.greedy_traces, h.completion_tokens = 30, h.correct = 1, h.wrong = h.traces - 1;
  calibration::CalSketch sketch;
  sketch.Add(*Confidence::From(0.8), 1.0);
  for (uint32_t i = 1; i < h.traces; ++i) sketch.Add(*Confidence::From(0.4), 0.0);
  h.sketches = {{"slot", sketch.Encode()}};
  h.sums = {{"reward/accuracy", 1.0}, {"tokens", 30.0}};
  h.slices = {"continent=Asia"};
  return h;
}

struct World {
  Clients* clients = nullptr;
  uint64_t rollout_incarnation = 1, trainer_incarnation = 1;
  std::map<GroupId, int> scored;  // how often we sent a group

  void Join() {
    auto hello = [](const char* role, const char* worker, uint64_t incarnation, const char* endpoint, std::vector<GroupId> spooled) {
      return Hello{role, worker, {incarnation}, endpoint, {}, std::move(spooled)};
    };
    std::vector<GroupId> spooled;
    for (const auto& [id, n] : scored) spooled.push_back(id);
    ASSERT_TRUE(clients->reward.Ask<Welcome>(hello("reward", "reward-0", 1, "tcp://reward:1", spooled), "hello", kDeadlineMs));
    ASSERT_TRUE(clients->rollout.Ask<Welcome>(hello("rollout", "rollout-0", rollout_incarnation, "", {}), "hello", kDeadlineMs));
  }
  // Generates and scores everything that can be leased now.
  void Generate() {
    for (int empty = 0; empty < 3;) {
      auto grant = clients->rollout.Ask<LeaseGrant>(LeaseRequest{"rollout-0", {rollout_incarnation}, {0}, 2}, "leases", kDeadlineMs);
      ASSERT_TRUE(grant.has_value()) << grant.error().Message();
      if (grant->leases.empty()) {
        ++empty;
        std::this_thread::sleep_for(std::chrono::milliseconds(40));
      }
      for (const Lease& lease : grant->leases) {
        ++scored[lease.group];
        for (int twice = 0; twice < 2; ++twice) {
          auto ack = clients->reward.Ask<Ack>(Score(lease), "ack", kDeadlineMs);
          ASSERT_TRUE(ack.has_value() && ack->accepted);
        }
      }
    }
  }
  StepPlan Plan(uint64_t step) {
    auto plan = clients->trainer.Ask<StepPlan>(PlanRequest{{step}, {trainer_incarnation}, 2}, "plan", kDeadlineMs);
    EXPECT_TRUE(plan.has_value()) << plan.error().Message();
    return plan ? *plan : StepPlan{};
  }
  void Learn(uint64_t step, bool checkpoint) {
    StepPlan plan = Plan(step);
    ASSERT_TRUE(plan.ready) << plan.waiting_for;
    ASSERT_EQ(plan.groups.size(), 3u);
    EXPECT_EQ(plan.groups[0].reward_endpoint, "tcp://reward:1");
    ASSERT_TRUE(clients->trainer.Ask<Ack>(PlanVote{plan.plan, plan.step, true, {}, ""}, "vote", kDeadlineMs)->accepted);
    ASSERT_TRUE(clients->trainer.Ask<Ack>(VersionAnnounce{Version(step), {step}}, "version", kDeadlineMs)->accepted);
    StepDone done{{{step}, plan.plan, {step}, {{"optim/lr", 1e-5}, {"optim/grad_norm", std::nan("")}}}, Version(step)};
    ASSERT_TRUE(clients->trainer.Ask<Ack>(done, "step done", kDeadlineMs)->accepted);
    if (checkpoint) {
      auto ack = clients->trainer.Ask<Ack>(CheckpointDone{{step}, "checkpoints/step", "h"}, "checkpoint", kDeadlineMs);
      EXPECT_EQ(ack->spool_release_through.value, step);
    }
  }
};

std::vector<json> Lines(const std::string& path) {
  std::vector<json> lines;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) lines.push_back(json::parse(line));
  return lines;
}

Balance Audit(const std::string& run_dir) {
  auto reader = OpenNewestLedger(run_dir);
  EXPECT_TRUE(reader.has_value()) << reader.error().Message();
  Auditor auditor(reader->plan);
  EXPECT_TRUE(reader->ForEach([&](const LedgerRecord& record) -> Status {
    auditor.Add(record);
    return {};
  }));
  return auditor.Result();
}

void AskHttp(const std::string& url, const std::string& token) {
  httplib::Client client(url);
  EXPECT_EQ(client.Get("/healthz")->status, 200);
  for (const char* path : {"/metrics", "/api/status", "/api/metrics", "/api/calibration"}) {
    EXPECT_EQ(client.Get(path)->status, 401) << path;
    EXPECT_EQ(client.Get(std::string(path) + "?token=" + token.substr(1))->status, 401) << path;
  }
  client.set_bearer_token_auth(token);
  EXPECT_NE(client.Get("/metrics")->body.find("candor_step 1\n"), std::string::npos);
  json status = json::parse(client.Get("/api/status")->body);
  EXPECT_EQ(status["step"], 1);
  EXPECT_EQ(status["members"].size(), 2u);
  EXPECT_EQ(json::parse(client.Get("/api/metrics?from=1")->body).size(), 1u);
  EXPECT_EQ(client.Get("/api/metrics?from=minus")->status, 400);
  EXPECT_EQ(client.Get("/api/calibration?stream=nothing")->status, 404);
  EXPECT_EQ(client.Get("/nowhere")->status, 404);
  json series = json::parse(client.Get("/api/calibration?stream=train&signal=slot&from=1&to=1")->body);
  ASSERT_EQ(series.size(), 1u);
  EXPECT_EQ(series[0]["metrics"]["n"], 9);
  EXPECT_NEAR(series[0]["metrics"]["accuracy"].get<double>(), 1.0 / 3.0, 1e-9);
  EXPECT_NEAR(series[0]["metrics"]["brier"].get<double>(), (0.04 + 2 * 0.16) / 3.0, 1e-8);
  EXPECT_EQ(json::parse(client.Get("/api/calibration?stream=train&slice=continent%3DAsia")->body).size(), 1u);
}

void CheckBooks(const RunFolder& folder) {
  Balance balance = Audit(folder.path());
  EXPECT_TRUE(balance.Balances()) << BalanceText(balance);
  EXPECT_TRUE(balance.finished);
  EXPECT_EQ(balance.issued, 3u * 3u + 2u * 2u);  // training groups, and two rows of dev at version 0 and at the last
  EXPECT_EQ(balance.trained, 9u);
  EXPECT_EQ(balance.evaluated, 4u);
  EXPECT_EQ(balance.in_flight, 0u);
  EXPECT_EQ(balance.segments, 2u);
  EXPECT_EQ(balance.reopened, 1u);
}

// The live metrics of the run below: step 2 was done twice, in two segments.
void CheckMetricsLines(const RunFolder& folder) {
  std::vector<json> lines = Lines(folder.path() + "/metrics.jsonl");
  ASSERT_EQ(lines.size(), 4u);  // step 2 was done twice, in two segments
  EXPECT_EQ(lines[0]["step"], 1);
  EXPECT_EQ(lines[3]["step"], 3);
  EXPECT_EQ(lines[3]["segment"], 2);
  EXPECT_FALSE(lines[0].contains("optim/grad_norm"));  // NaN has no place in JSON
  for (const json& line : lines) {
    EXPECT_NEAR(line["calibration/train/brier"].get<double>(), 0.12, 1e-8);
    EXPECT_EQ(line["calibration/train/n"], 9);
    EXPECT_NEAR(line["seq_len/all/mean"].get<double>(), 10.0, 1e-9);
  }
}

// What a crash between the end of an evaluation and its line leaves; returns the line.
json LoseTheEvaluationsLine(const RunFolder& folder) {
  const std::string evals = folder.path() + "/evals.jsonl";
  const std::vector<json> lines = Lines(evals);
  EXPECT_EQ(lines.size(), 1u);
  auto ledger = Ledger::Open(folder.path(), SmallPlan(), "test");
  StoreBatch without;
  without.delete_ranges.emplace_back("mevals.jsonl", AfterPrefix("mevals.jsonl"));
  EXPECT_TRUE((*ledger)->Commit({}, std::move(without)));
  std::filesystem::remove(evals);
  return lines.empty() ? json() : lines[0];
}

TEST(ServeCoordinator, RunSurvivesARestartAndBalances) {
  RunFolder folder;
  auto transport = *MakeZmqTransport(folder.keys());
  World world;
  {
    RunningCoordinator coordinator(folder);
    Clients clients(*transport, coordinator.endpoint());
    world.clients = &clients;
    world.Join();
    auto early = clients.rollout.Ask<LeaseGrant>(LeaseRequest{"rollout-0", {1}, {0}, 2}, "leases", kDeadlineMs);
    EXPECT_TRUE(early->leases.empty());  // no version is in the ledger yet
    EXPECT_EQ(early->waiting_for, "policy version 0");
    EXPECT_FALSE(world.Plan(1).ready);
    auto thief = clients.rollout.Call(PlanRequest{{1}, {1}, 2}, "plan", kDeadlineMs);
    ASSERT_FALSE(thief.has_value());
    EXPECT_EQ(thief.error().code, ErrorCode::kUnauthorized);
    ASSERT_TRUE(clients.trainer.Ask<Ack>(VersionAnnounce{Version(0), {0}}, "version", kDeadlineMs)->accepted);
    world.Generate();
    world.Learn(1, true);
    std::this_thread::sleep_for(std::chrono::milliseconds(400));  // HTTP shows snapshots
    AskHttp(coordinator.http(), folder.keys().run_token);
    EXPECT_TRUE(coordinator.Stop());
  }
  Balance half = Audit(folder.path());
  EXPECT_TRUE(half.Balances()) << BalanceText(half);
  EXPECT_EQ(half.trained, 3u);
  EXPECT_GT(half.in_flight, 0u);
  const json dev = LoseTheEvaluationsLine(folder);
  // A torn last line, as a crash leaves it.
  std::ofstream(folder.path() + "/metrics.jsonl", std::ios::app) << "{\"step\":";
  {
    RunningCoordinator coordinator(folder);
    const std::vector<json> evals = Lines(folder.path() + "/evals.jsonl");
    ASSERT_EQ(evals.size(), 1u) << "the line of an evaluation that had ended is made up for";
    EXPECT_EQ(evals[0]["calibration/dev/brier"], dev["calibration/dev/brier"]);
    Clients clients(*transport, coordinator.endpoint());
    world.clients = &clients;
    world.rollout_incarnation = 2;
    world.Join();
    world.Generate();
    world.Learn(2, false);
    // The learner dies and goes back to its checkpoint: the same plan again, in a new segment.
    StepPlan before = world.Plan(2);
    world.trainer_incarnation = 2;
    StepPlan again = world.Plan(2);
    EXPECT_EQ(before.plan, again.plan);
    ASSERT_EQ(before.groups.size(), again.groups.size());
    for (size_t i = 0; i < before.groups.size(); ++i) EXPECT_EQ(before.groups[i].hash, again.groups[i].hash);
    world.Generate();
    world.Learn(2, false);
    world.Generate();
    // A group of step 3 cannot be fetched: the plan is void and the group is generated again.
    StepPlan bad = world.Plan(3);
    ASSERT_TRUE(bad.ready) << bad.waiting_for;
    ASSERT_TRUE(clients.trainer.Ask<Ack>(PlanVote{bad.plan, {3}, false, {bad.groups[1].group}, "lost"}, "vote", kDeadlineMs)->accepted);
    EXPECT_FALSE(world.Plan(3).ready);
    world.Generate();
    EXPECT_EQ(world.scored[bad.groups[1].group], 2);
    world.Learn(3, true);
    world.Generate();
    EXPECT_TRUE(world.Plan(4).finished);
    Status ended = coordinator.Join();  // by itself: the run is finished and nobody speaks
    EXPECT_TRUE(ended.has_value()) << ended.error().Message();
  }
  CheckBooks(folder);
  CheckMetricsLines(folder);
  EXPECT_EQ(Lines(folder.path() + "/evals.jsonl").size(), 2u);
}

TEST(ServeCoordinator, EvaluationsOfAbandonedVersionsAreAskedAndToldAnew) {
  RunFolder folder;
  auto transport = *MakeZmqTransport(folder.keys());
  RunningCoordinator coordinator(folder);
  Clients clients(*transport, coordinator.endpoint());
  World world;
  world.clients = &clients;
  world.Join();
  ASSERT_TRUE(clients.trainer.Ask<Ack>(VersionAnnounce{Version(0), {0}}, "version", kDeadlineMs)->accepted);
  const auto told = [&] {
    std::vector<int> versions;
    for (const json& line : Lines(folder.path() + "/evals.jsonl")) versions.push_back(line["step"]);
    return versions;
  };
  for (uint64_t step = 1; step <= 3; ++step) world.Generate(), world.Learn(step, step == 2);
  world.Generate();
  EXPECT_EQ(told(), (std::vector<int>{0, 3}));
  world.trainer_incarnation = 2;  // goes back behind the checkpoint that let its groups go
  EXPECT_FALSE(world.Plan(2).ready);
  EXPECT_EQ(told(), std::vector<int>{0});
  for (uint64_t step = 2; step <= 3; ++step) world.Generate(), world.Learn(step, step == 3);
  world.Generate();
  EXPECT_EQ(told(), (std::vector<int>{0, 3}));
  EXPECT_EQ(world.scored.at(MakeEvalGroupId(0, {3}, 1)), 2);
  EXPECT_TRUE(coordinator.Join());
  EXPECT_TRUE(Audit(folder.path()).Balances());
}

TEST(ServeCoordinator, NewerCoordinatorFencesTheOlder) {
  RunFolder folder;
  auto transport = *MakeZmqTransport(folder.keys());
  RunningCoordinator older(folder, 60);
  RunningCoordinator newer(folder, 60);
  // The older one learns of it with its next commit, and does not acknowledge.
  auto wire = *transport->Connect(older.endpoint(), Role::kTrainer, Role::kCoordinator, kMaxControlBytes);
  Caller caller(*wire, "small", "trainer");
  auto unheard = caller.Ask<Ack>(VersionAnnounce{Version(0), {0}}, "version", 700);
  EXPECT_FALSE(unheard.has_value());
  Status ended = older.Join();
  ASSERT_FALSE(ended);
  EXPECT_NE(ended.error().what.find("newer incarnation"), std::string::npos);
  auto new_wire = *transport->Connect(newer.endpoint(), Role::kTrainer, Role::kCoordinator, kMaxControlBytes);
  Caller new_caller(*new_wire, "small", "trainer");
  EXPECT_TRUE(new_caller.Ask<Ack>(VersionAnnounce{Version(0), {0}}, "version", kDeadlineMs)->accepted);
}

TEST(ServeCoordinator, AnotherRecipeOrRunIsRefused) {
  RunFolder folder;
  { ASSERT_TRUE(Ledger::Open(folder.path(), SmallPlan(), "test").has_value()); }
  RunPlan other = SmallPlan();
  other.prompts_per_step = 4;
  auto refused = Ledger::Open(folder.path(), other, "test");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kInvalidInput);
  RunPlan longer = SmallPlan();
  longer.steps = 9;
  EXPECT_TRUE(Ledger::Open(folder.path(), longer, "test").has_value());
  RunPlan empty = SmallPlan();
  empty.datasets[0].rows = 0;
  EXPECT_FALSE(ServeCoordinator(empty, {}, folder.path()).has_value());
}

}  // namespace
}  // namespace candor
