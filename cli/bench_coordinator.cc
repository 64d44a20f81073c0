// candor bench coordinator: a real coordinator process under a load of many workers' sockets. Shared by all: this machine's cores; the
// workers are CURVE connections of a few threads, one reward worker and one learner keep the run going with headers and plans only.
#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <mutex>
#include <nlohmann/json.hpp>

#include "cli/bench_front.h"
#include "cli/command_line.h"
#include "cli/scratch.h"
#include "coordinator/server.h"
#include "core/clock.h"
#include "core/fs.h"
#include "core/log.h"
#include "core/queue.h"
#include "core/rendezvous.h"
#include "core/rng.h"
#include "core/thread.h"

namespace candor::cli {

namespace {

constexpr size_t kClientsPerContext = 900;  // libzmq's own limit is 1023 sockets a context
constexpr int kThreads = 2;
constexpr double kLeaseEverySeconds = 1.0, kBeatEverySeconds = 1.0;
constexpr int kJoinSeconds = 90;

struct LoadFigures {
  uint32_t workers = 0, joined = 0;
  uint64_t leases = 0, answers = 0, steps = 0;
  double seconds = 0, join_seconds = 0, p50_ms = 0, p99_ms = 0, rss_mb = 0;
};

RunPlan PlanFor(uint32_t workers) {
  RunPlan plan;
  plan.run_id = "bench";
  plan.steps = 1000000;
  plan.prompts_per_step = std::max(64u, workers);
  plan.group_size = 8;
  plan.staleness = 2;
  plan.datasets = {{"train", 10000, 1.0}};
  return plan;
}

double RssMb(pid_t pid) {
  const Result<std::string> status = ReadFile(fmt::format("/proc/{}/status", pid));
  const size_t at = status ? status->find("VmRSS:") : std::string::npos;
  return at == std::string::npos ? 0 : std::strtod(status->c_str() + at + 6, nullptr) / 1024;
}

// The coordinator in a process of its own; ended by SIGKILL (it is crash-only).
class CoordinatorProcess {
 public:
  CoordinatorProcess(const RunPlan& plan, const std::string& run_dir) : pid_(::fork()) {
    if (pid_ != 0) return;
    spdlog::set_level(spdlog::level::off);
    CoordinatorOptions options;
    options.lease_timeout_s = 120;
    const Status served = ServeCoordinator(plan, options, run_dir);
    ::_exit(served ? 0 : 1);
  }
  ~CoordinatorProcess() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_;
};

// Groups that were leased and are to be scored.
class ScoreQueue {
 public:
  void Put(const Lease& lease) {
    std::scoped_lock lock(mutex_);
    waiting_.push_back(lease);
  }
  std::vector<Lease> TakeAll() {
    std::scoped_lock lock(mutex_);
    return std::exchange(waiting_, {});
  }

 private:
  std::mutex mutex_;
  std::vector<Lease> waiting_;
};

struct LoadWorker {
  std::unique_ptr<MessageClient> client;
  std::string name;
  uint64_t sequence = 0, lease_sequence = 0;
  double asked = 0, next_lease = 0, next_beat = 0;
  bool joined = false, waiting = false;
};

// One thread's workers: each asks for a lease and sends a heartbeat once a second.
class LoadThread {
 public:
  LoadThread(ScoreQueue& queue, std::atomic<bool>& stop, std::atomic<bool>& measuring)
      : queue_(queue), stop_(stop), measuring_(measuring) {}
  void Add(std::unique_ptr<MessageClient> client, uint32_t index) {
    LoadWorker worker;
    worker.client = std::move(client), worker.name = fmt::format("rollout-{}", index);
    workers_.push_back(std::move(worker));
  }
  void Run() {
    while (!stop_) {
      const double now = SteadySeconds();
      bool quiet = true;
      for (LoadWorker& worker : workers_) {
        quiet = !Hear(worker) && quiet;
        Speak(worker, now);
      }
      if (quiet) SystemClock::Get().SleepMs(1);
    }
  }
  std::atomic<uint32_t> joined = 0;
  std::vector<double> latencies;  // seconds, of lease requests while measuring
  uint64_t leases = 0, answers = 0;

 private:
  void Send(LoadWorker& worker, MessageBody body) {
    (void)worker.client->Send(Encode({"bench", ++worker.sequence, worker.name, std::move(body)}));
  }
  void Speak(LoadWorker& worker, double now) {
    if (!worker.joined) {
      if (now < worker.next_beat) return;
      worker.next_beat = now + 5;
      return Send(worker, Hello{"rollout", worker.name, {1}, "", {}, {}});
    }
    if (now >= worker.next_beat) {
      worker.next_beat = now + kBeatEverySeconds;
      Send(worker, WorkerHeartbeat{worker.name, {1}, {}, {}});
    }
    if (worker.waiting || now < worker.next_lease) return;
    worker.next_lease = now + kLeaseEverySeconds;
    worker.asked = now, worker.waiting = true, worker.lease_sequence = worker.sequence + 1;
    Send(worker, LeaseRequest{worker.name, {1}, {0}, 1});
  }
  bool Hear(LoadWorker& worker) {
    const auto reply = worker.client->Receive(0);
    if (!reply || !*reply) return false;
    const Result<Message> message = Decode(**reply);
    if (!message) return true;
    const double now = SteadySeconds();
    if (measuring_) ++answers;
    if (std::holds_alternative<Welcome>(message->body) && !worker.joined) {
      worker.joined = true;
      worker.next_beat = now + RandomUnit(1, RngStream::kSynthetic, std::hash<std::string>{}(worker.name));
      worker.next_lease = worker.next_beat;
      ++joined;
    }
    if (message->sequence == worker.lease_sequence) {
      worker.waiting = false;
      if (measuring_) latencies.push_back(now - worker.asked);
    }
    if (auto* grant = std::get_if<LeaseGrant>(&message->body))
      for (const Lease& lease : grant->leases) {
        if (measuring_) ++leases;
        queue_.Put(lease);
      }
    return true;
  }
  ScoreQueue& queue_;
  std::atomic<bool>& stop_;
  std::atomic<bool>& measuring_;
  std::vector<LoadWorker> workers_;
};

// One reward worker: headers of what was leased, many in flight.
void RunReward(MessageClient& client, ScoreQueue& queue, const std::atomic<bool>& stop) {
  Caller caller(client, "bench", "reward-0");
  (void)caller.Ask<Welcome>(Hello{"reward", "reward-0", {1}, "tcp://127.0.0.1:1", {}, {}}, "hello", 20000);
  uint64_t sequence = 1000000;
  while (!stop) {
    for (const Lease& lease : queue.TakeAll()) {
      GroupScored header;
      header.group = lease.group, header.prompt = lease.prompt, header.wave = lease.wave;
      header.reward_worker = "reward-0", header.reward_endpoint = "tcp://127.0.0.1:1", header.hash = std::string(32, 'a');
      header.oldest_version = header.newest_version = lease.max_version;
      header.traces = lease.traces, header.correct = lease.traces / 2, header.wrong = lease.traces - header.correct;
      header.prompt_tokens = 100, header.completion_tokens = 1000;
      while (!client.Send(Encode({"bench", ++sequence, "reward-0", header})) && !stop) SystemClock::Get().SleepMs(1);
    }
    while (true) {
      const auto reply = client.Receive(1);
      if (!reply || !*reply) break;
    }
  }
}

// A learner that learns nothing: plan, vote, version, report, checkpoint.
void RunTrainer(MessageClient& client, std::atomic<uint64_t>& steps, const std::atomic<bool>& stop) {
  Caller caller(client, "bench", "trainer-0");
  auto info = [](uint64_t version) { return VersionInfo{{version}, fmt::format("v{}", version), "h"}; };
  (void)caller.Ask<Ack>(VersionAnnounce{info(0), {0}}, "version", 20000);
  for (uint64_t step = 1; !stop;) {
    const Result<StepPlan> plan = caller.Ask<StepPlan>(PlanRequest{{step}, {1}, 1}, "plan", 5000);
    if (!plan || !plan->ready) {
      SystemClock::Get().SleepMs(20);
      continue;
    }
    (void)caller.Ask<Ack>(PlanVote{plan->plan, plan->step, true, {}, ""}, "vote", 5000);
    (void)caller.Ask<Ack>(VersionAnnounce{info(step), {step}}, "version", 5000);
    (void)caller.Ask<Ack>(StepDone{{{step}, plan->plan, {step}, {}}, info(step)}, "step", 5000);
    (void)caller.Ask<Ack>(CheckpointDone{{step}, "c", "h"}, "checkpoint", 5000);
    steps = step++;
  }
}

double Quantile(std::vector<double>& sorted, double q) {
  return sorted.empty() ? 0 : sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1))];
}

// Opens all connections, waits until everybody is known, then measures.
Result<LoadFigures> Measure(uint32_t workers, double seconds, const std::string& run_dir) {
  CANDOR_ASSIGN(const RunKeys keys, MakeRunKeys());
  CANDOR_TRY(WriteRunKeys(keys, run_dir));
  const CoordinatorProcess process(PlanFor(workers), run_dir);  // forked before any thread is here
  Result<CoordinatorAddress> address = FindCoordinator(run_dir);
  for (const double end = SteadySeconds() + 20; !address && SteadySeconds() < end; address = FindCoordinator(run_dir))
    SystemClock::Get().SleepMs(20);
  if (!address) return Fail(address.error());
  std::vector<std::unique_ptr<Transport>> contexts;
  auto connect = [&](Role role) { return contexts.back()->Connect(address->endpoint, role, Role::kCoordinator, kMaxControlBytes); };
  ScoreQueue queue;
  std::atomic<bool> stop = false, measuring = false;
  std::atomic<uint64_t> steps = 0;
  std::vector<std::unique_ptr<LoadThread>> threads;
  for (int i = 0; i < kThreads; ++i) threads.push_back(std::make_unique<LoadThread>(queue, stop, measuring));
  for (uint32_t i = 0; i < workers + 2; ++i) {
    if (i % kClientsPerContext == 0) {
      CANDOR_ASSIGN(auto context, MakeZmqTransport(keys));
      contexts.push_back(std::move(context));
    }
    if (i >= workers) continue;
    CANDOR_ASSIGN(auto client, connect(Role::kRollout));
    threads[i % kThreads]->Add(std::move(client), i);
  }
  CANDOR_ASSIGN(auto reward, connect(Role::kReward));
  CANDOR_ASSIGN(auto trainer, connect(Role::kTrainer));
  LoadFigures figures;
  figures.workers = workers;
  {
    std::vector<NamedThread> running;
    const double begun = SteadySeconds();
    running.emplace_back("reward", [&] { RunReward(*reward, queue, stop); });
    running.emplace_back("trainer", [&] { RunTrainer(*trainer, steps, stop); });
    for (auto& thread : threads) running.emplace_back("load", [&thread] { thread->Run(); });
    auto joined = [&] { return threads[0]->joined + threads[1]->joined; };
    while (joined() < workers && SteadySeconds() < begun + kJoinSeconds) SystemClock::Get().SleepMs(50);
    figures.joined = joined(), figures.join_seconds = SteadySeconds() - begun;
    SystemClock::Get().SleepMs(2000);
    const uint64_t steps_before = steps;
    measuring = true;
    const double start = SteadySeconds();
    SystemClock::Get().SleepMs(static_cast<int64_t>(seconds * 1000));
    measuring = false;
    figures.seconds = SteadySeconds() - start;
    figures.steps = steps - steps_before;
    figures.rss_mb = RssMb(process.pid());
    stop = true;
  }
  std::vector<double> latencies;
  for (auto& thread : threads) {
    latencies.insert(latencies.end(), thread->latencies.begin(), thread->latencies.end());
    figures.leases += thread->leases, figures.answers += thread->answers;
  }
  std::sort(latencies.begin(), latencies.end());
  figures.p50_ms = Quantile(latencies, 0.5) * 1000, figures.p99_ms = Quantile(latencies, 0.99) * 1000;
  threads.clear();  // their sockets go before their contexts
  return figures;
}

void Show(const LoadFigures& f, bool json) {
  const double leases = static_cast<double>(f.leases) / f.seconds, answers = static_cast<double>(f.answers) / f.seconds;
  if (json) {
    const nlohmann::json out = {{"workers", f.workers},   {"joined", f.joined},       {"join_seconds", f.join_seconds},
                                {"leases_per_s", leases}, {"answers_per_s", answers}, {"p50_ms", f.p50_ms},
                                {"p99_ms", f.p99_ms},     {"rss_mb", f.rss_mb},       {"steps", f.steps}};
    std::printf("%s\n", out.dump().c_str());
  } else {
    std::printf("%7u workers (%u joined in %.1f s): %8.0f leases/s %8.0f answers/s   p50 %7.2f ms  p99 %7.2f ms   %6.0f MB   %llu steps\n",
                f.workers, f.joined, f.join_seconds, leases, answers, f.p50_ms, f.p99_ms, f.rss_mb,
                static_cast<unsigned long long>(f.steps));
  }
  std::fflush(stdout);
}

Status RaiseLimits(uint32_t workers) {
  struct rlimit limit {};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  const rlim_t needed = 4 * rlim_t{workers} + 1000;
  if (limit.rlim_max != RLIM_INFINITY && limit.rlim_max < needed)
    return Fail(ErrorCode::kUnavailable, fmt::format("{} workers need {} open files, the limit is {}", workers, needed, limit.rlim_max),
                "ulimit -Hn", "raise the limit or ask for fewer workers");
  limit.rlim_cur = limit.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &limit);
  return {};
}

}  // namespace

int RunBenchCoordinator(int argc, const char* const* argv) {
  std::vector<uint32_t> workers = {100, 1000, 10000};
  double seconds = 10;
  bool json = false;
  CommandLine app{
      "A real coordinator process under many workers: each is a CURVE connection that asks for a lease and sends a heartbeat once a "
      "second; one reward worker and one learner keep the run going. The load comes from this machine too and shares its cores.",
      "candor bench coordinator"};
  app.Add("--workers", &workers, "how many, one or more numbers").SeparatedBy(',').Range(1, 20000);
  app.Add("--seconds", &seconds, "measured, of each").Range(0.5, 600.0).ShowDefault();
  app.AddFlag("--json", &json, "one JSON object a line");
  app.AddFooter("Examples:\n  candor bench coordinator\n  candor bench coordinator --workers 100,1000 --seconds 5 --json");
  if (const auto code = app.Parse(argc, argv)) return *code;
  for (const uint32_t count : workers) {
    if (Status raised = RaiseLimits(count); !raised) return ReportFailure("bench", raised.error());
    const Scratch scratch("coordinator");
    if (Status made = scratch.status(); !made) return ReportFailure("bench", made.error());
    const Result<LoadFigures> figures = Measure(count, seconds, scratch.path());
    if (!figures) return ReportFailure("bench", figures.error());
    Show(*figures, json);
  }
  return 0;
}

}  // namespace candor::cli
