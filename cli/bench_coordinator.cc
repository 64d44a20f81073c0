// candor bench coordinator: a real coordinator process under a load of many workers' sockets. Shared by all: this machine's cores; the
// workers are CURVE connections of a few threads, one reward worker and one learner keep the run going with headers and plans only.
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <new>
#include <nlohmann/json.hpp>

#include "cli/bench_coordinator_load.h"
#include "cli/bench_front.h"
#include "cli/command_line.h"
#include "cli/scratch.h"
#include "coordinator/server.h"
#include "core/clock.h"
#include "core/fs.h"
#include "core/log.h"
#include "core/rendezvous.h"
#include "core/thread.h"

namespace candor::cli {

namespace {

constexpr uint32_t kWorkersPerProcess = 4000;  // two open files each
constexpr int kJoinSeconds = 240;

struct LoadAsked {
  uint32_t workers = 0;
  double lease_every_s = 1;
};

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
    options.lease_timeout_s = 600;  // silent while the others join
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

double Quantile(const std::vector<float>& sorted, double q) {
  return sorted.empty() ? 0 : static_cast<double>(sorted[static_cast<size_t>(q * static_cast<double>(sorted.size() - 1))]);
}

// Memory that child processes share.
class Shared {
 public:
  Shared() : memory_(::mmap(nullptr, sizeof(SharedLoad), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    if (memory_ == MAP_FAILED) throw std::bad_alloc();
    load_ = new (memory_) SharedLoad;
  }
  ~Shared() { ::munmap(memory_, sizeof(SharedLoad)); }
  SharedLoad* operator->() { return load_; }
  SharedLoad& operator*() { return *load_; }

 private:
  void* memory_;
  SharedLoad* load_;
};

// The workers, in as many processes as their open files need. All are told to stop, and awaited, at the end.
class LoadProcesses {
 public:
  LoadProcesses(const LoadAsked& asked, const RunKeys& keys, const std::string& endpoint, SharedLoad& shared) : shared_(shared) {
    const uint32_t count = (asked.workers + kWorkersPerProcess - 1) / kWorkersPerProcess;
    for (uint32_t i = 0; i < count; ++i) {
      const uint32_t first = asked.workers * i / count, last = asked.workers * (i + 1) / count;
      const pid_t pid = ::fork();
      if (pid == 0) {
        const Status ran = RunLoadPart({first, last - first, i, asked.lease_every_s}, keys, endpoint, shared);
        if (!ran) LogError(ran.error(), "load");
        ::_exit(ran ? 0 : 1);
      }
      pids_.push_back(pid);
    }
  }
  ~LoadProcesses() {
    shared_.stop = true;
    for (const pid_t pid : pids_)
      if (pid > 0) ::waitpid(pid, nullptr, 0);
  }

 private:
  SharedLoad& shared_;
  std::vector<pid_t> pids_;
};

// Opens all connections, waits until everybody is known, then measures.
Result<LoadFigures> Measure(const LoadAsked& asked, double seconds, const std::string& run_dir) {
  CANDOR_ASSIGN(const RunKeys keys, MakeRunKeys());
  CANDOR_TRY(WriteRunKeys(keys, run_dir));
  const CoordinatorProcess process(PlanFor(asked.workers), run_dir);  // forked before any thread is here
  Result<CoordinatorAddress> address = FindCoordinator(run_dir);
  for (const double end = SteadySeconds() + 20; !address && SteadySeconds() < end; address = FindCoordinator(run_dir))
    SystemClock::Get().SleepMs(20);
  if (!address) return Fail(address.error());
  Shared shared;
  const double begun = SteadySeconds();
  const LoadProcesses load(asked, keys, address->endpoint, *shared);
  CANDOR_ASSIGN(const auto context, MakeZmqTransport(keys));
  CANDOR_ASSIGN(const auto trainer, context->Connect(address->endpoint, Role::kTrainer, Role::kCoordinator, kMaxControlBytes));
  std::atomic<uint64_t> steps = 0;
  std::atomic<bool> stop = false;
  LoadFigures figures;
  figures.workers = asked.workers;
  {
    const NamedThread learner("trainer", [&] { RunTrainer(*trainer, steps, stop); });
    while (shared->joined < asked.workers && SteadySeconds() < begun + kJoinSeconds) SystemClock::Get().SleepMs(50);
    figures.joined = shared->joined, figures.join_seconds = SteadySeconds() - begun;
    shared->go = true;
    SystemClock::Get().SleepMs(static_cast<int64_t>(1000 * std::max(2.0, asked.lease_every_s)));
    const uint64_t steps_before = steps;
    const double start = SteadySeconds();
    shared->measuring = true;
    SystemClock::Get().SleepMs(static_cast<int64_t>(seconds * 1000));
    shared->measuring = false;
    figures.seconds = SteadySeconds() - start;
    figures.steps = steps - steps_before;
    figures.rss_mb = RssMb(process.pid());
    stop = true;
  }
  figures.leases = shared->leases, figures.answers = shared->answers;
  std::vector<float> latencies(shared->latency_s, shared->latency_s + std::min<uint64_t>(shared->latencies, SharedLoad::kLatenciesMax));
  std::sort(latencies.begin(), latencies.end());
  figures.p50_ms = Quantile(latencies, 0.5) * 1000, figures.p99_ms = Quantile(latencies, 0.99) * 1000;
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
  // The coordinator has one for each, a process of the load two for each of its own.
  const rlim_t needed = std::max<rlim_t>(workers, 2 * std::min(workers, kWorkersPerProcess)) + 1000;
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
  LoadAsked asked;
  bool json = false;
  CommandLine app{
      "A real coordinator process under many workers: each is a CURVE connection that sends a heartbeat once a second and asks for a lease "
      "every --lease-every seconds; reward workers and one learner keep the run going. The load comes from this machine too and shares its "
      "cores.",
      "candor bench coordinator"};
  app.Add("--workers", &workers, "how many, one or more numbers").SeparatedBy(',').Range(1, 20000);
  app.Add("--seconds", &seconds, "measured, of each").Range(0.5, 600.0).ShowDefault();
  app.Add("--lease-every", &asked.lease_every_s, "seconds between a worker's requests for a lease").Range(0.1, 600.0).ShowDefault();
  app.AddFlag("--json", &json, "one JSON object a line");
  app.AddFooter(
      "Examples:\n  candor bench coordinator\n  candor bench coordinator --workers 10000 --lease-every 10\n  candor bench coordinator "
      "--workers 100,1000 --seconds 5 --json");
  if (const auto code = app.Parse(argc, argv)) return *code;
  for (const uint32_t count : workers) {
    if (Status raised = RaiseLimits(count); !raised) return ReportFailure("bench", raised.error());
    asked.workers = count;
    const Scratch scratch("coordinator");
    if (Status made = scratch.status(); !made) return ReportFailure("bench", made.error());
    const Result<LoadFigures> figures = Measure(asked, seconds, scratch.path());
    if (!figures) return ReportFailure("bench", figures.error());
    Show(*figures, json);
  }
  return 0;
}

}  // namespace candor::cli
