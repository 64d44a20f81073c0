#include "tests/security/real_run.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "core/fs.h"
#include "core/rendezvous.h"

extern char** environ;

namespace candor::security {

namespace {

constexpr int kStartMs = 20000;

constexpr const char* kRecipe = R"(name = "attacked"
model = "none"
[[data.train]]
path = "{dir}/rows.jsonl"
[[objective]]
channel = "accuracy"
segment = "answer"
[trainer]
steps = 100
prompts_per_step = 4
group_size = 2
[coordinator]
restart_grace_s = 0
)";

void Sleep(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

template <typename Condition>
bool WaitFor(int within_ms, Condition holds) {
  for (int waited = 0; waited < within_ms; waited += 20, Sleep(20))
    if (holds()) return true;
  return holds();
}

bool Alive(pid_t& pid) {
  int status = 0;
  if (pid > 0 && ::waitpid(pid, &status, WNOHANG) == pid) pid = -1;
  return pid > 0;
}

}  // namespace

RealRun::RealRun() {
  std::string name = (std::filesystem::temp_directory_path() / "candor-attacked-XXXXXX").string();
  dir_ = ::mkdtemp(name.data());
  keys_ = *MakeRunKeys();
  EXPECT_TRUE(WriteRunKeys(keys_, dir_));
  std::ofstream rows(dir_ + "/rows.jsonl");
  for (int i = 0; i < 40; ++i) rows << "{\"prompt\": \"question " << i << "\", \"answer\": \"a\"}\n";
  std::string recipe = kRecipe;
  recipe.replace(recipe.find("{dir}"), 5, dir_);
  std::ofstream(dir_ + "/resolved.toml") << recipe;
  transport_ = std::move(*MakeZmqTransport(keys_));
}

RealRun::~RealRun() {
  for (pid_t* pid : {&coordinator_pid_, &reward_pid_})
    if (Alive(*pid)) {
      ::kill(*pid, SIGKILL);
      ::waitpid(*pid, nullptr, 0);
    }
  transport_.reset();
  std::error_code ignored;
  std::filesystem::remove_all(dir_, ignored);
}

pid_t RealRun::Spawn(const std::string& role, const std::vector<std::string>& more) {
  std::vector<std::string> words = {CANDOR_PROGRAM, role, "--run-dir", dir_}, variables = more;
  for (char** variable = environ; *variable != nullptr; ++variable) variables.emplace_back(*variable);
  const auto pointers = [](std::vector<std::string>& texts) {
    std::vector<char*> list;
    for (std::string& text : texts) list.push_back(text.data());
    list.push_back(nullptr);
    return list;
  };
  const std::vector<char*> argv = pointers(words), environment = pointers(variables);
  const std::string out = dir_ + "/" + role + ".out";
  const pid_t parent = ::getpid(), pid = ::fork();
  if (pid == 0) {  // dies with the test, however that ends, and holds nothing of it open
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != parent) ::_exit(127);
    const int fd = ::open(out.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::dup2(fd, 1), ::dup2(fd, 2);
    ::close_range(3, ~0u, 0);
    ::execve(CANDOR_PROGRAM, argv.data(), environment.data());
    ::_exit(127);
  }
  EXPECT_GT(pid, 0);
  return pid;
}

void RealRun::LaunchCoordinator() { coordinator_pid_ = Spawn("coordinator", environment_); }

void RealRun::StartCoordinator() {
  LaunchCoordinator();
  const bool up = WaitFor(kStartMs, [&] {
    Result<CoordinatorAddress> found = FindCoordinator(dir_);
    if (found) coordinator_ = found->endpoint;
    return found.has_value() || !CoordinatorAlive();
  });
  EXPECT_TRUE(up && CoordinatorAlive()) << ReadFile(dir_ + "/coordinator.out").value_or("");
  if (coordinator_.empty()) return;
  http_ = nlohmann::json::parse(*ReadFile(dir_ + "/endpoint.1"))["http"].get<std::string>();
}

void RealRun::StartReward() {
  reward_pid_ = Spawn("reward", {});
  const bool up = WaitFor(kStartMs, [&] {
    const nlohmann::json status = Status();
    for (const auto& member : status["members"])
      if (member["role"] == "reward") reward_ = member["endpoint"].get<std::string>();
    return !reward_.empty();
  });
  EXPECT_TRUE(up) << ReadFile(dir_ + "/reward.out").value_or("") << ReadFile(dir_ + "/logs/reward-0.log").value_or("");
}

bool RealRun::CoordinatorAlive() { return Alive(coordinator_pid_); }
bool RealRun::RewardAlive() { return Alive(reward_pid_); }

int RealRun::CoordinatorExit(int within_ms) {
  int status = 0;
  const bool ended = WaitFor(within_ms, [&] { return ::waitpid(coordinator_pid_, &status, WNOHANG) == coordinator_pid_; });
  if (!ended) return -1;
  coordinator_pid_ = -1;
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

nlohmann::json RealRun::Status() {
  auto client = *transport_->Connect(coordinator_, Role::kObserver, Role::kCoordinator, kMaxControlBytes);
  Result<StatusReply> reply = Caller(*client, "attacked", "observer").Ask<StatusReply>(StatusRequest{}, "status", 10000);
  EXPECT_TRUE(reply.has_value()) << reply.error().Message();
  nlohmann::json status = reply ? nlohmann::json::parse(reply->json) : nlohmann::json::object();
  for (const char* changing : {"uptime_s", "wall_s", "checkpoint_age_s", "alarms", "waiting"}) status.erase(changing);
  for (auto& member : status["members"])
    for (const char* changing : {"silent_s", "joined_s", "metrics"}) member.erase(changing);
  return status;
}

GoodWorker::GoodWorker(RealRun& run) : run_(run), transport_(std::move(*MakeZmqTransport(run.keys()))) {
  client_ = std::move(*transport_->Connect(run_.coordinator(), Role::kRollout, Role::kCoordinator, kMaxControlBytes));
  caller_ = std::make_unique<Caller>(*client_, "attacked", "rollout-0");
  EXPECT_TRUE(caller_->Ask<Welcome>(Hello{"rollout", "rollout-0", {7}, "", {}, {}}, "hello", 5000).has_value());
}
GoodWorker::~GoodWorker() = default;

GoodWorker::Times GoodWorker::Measure(double seconds) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> times;
  Times result;
  const auto start = Clock::now();
  const auto since = [](Clock::time_point then) { return std::chrono::duration<double>(Clock::now() - then).count(); };
  while (since(start) < seconds) {
    const auto asked = Clock::now();
    Result<HeartbeatReply> reply = caller_->Ask<HeartbeatReply>(WorkerHeartbeat{"rollout-0", {7}, {}, {}}, "heartbeat", 3000);
    if (!reply) ++result.failed;
    times.push_back(since(asked) * 1000.0);
    Sleep(20);
  }
  result.per_second = static_cast<double>(times.size()) / since(start);
  std::sort(times.begin(), times.end());
  result.median_ms = times[times.size() / 2];
  result.p99_ms = times[times.size() * 99 / 100];
  return result;
}

}  // namespace candor::security
