#include "cli/rl_stage.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "cli/hang_watch.h"
#include "cli/progress.h"
#include "cli/supervisor.h"
#include "core/clock.h"
#include "core/fs.h"
#include "core/transport.h"

namespace candor::cli {

namespace {

using nlohmann::json;

constexpr useconds_t kWatchUs = 20'000;          // how soon a death is noticed
constexpr int64_t kLastEvaluationsMs = 300'000;  // evaluations of the last version that are still open when the trainer ends

volatile sig_atomic_t g_stop_signal = 0;
void OnSignal(int signal) { g_stop_signal = signal; }

// While it lives, Ctrl-C and SIGTERM set g_stop_signal instead of ending the process.
class CatchStopSignals {
 public:
  CatchStopSignals() {
    g_stop_signal = 0;
    struct sigaction action {};
    action.sa_handler = OnSignal;
    ::sigaction(SIGINT, &action, &old_int_);
    ::sigaction(SIGTERM, &action, &old_term_);
  }
  ~CatchStopSignals() {
    ::sigaction(SIGINT, &old_int_, nullptr);
    ::sigaction(SIGTERM, &old_term_, nullptr);
  }

 private:
  struct sigaction old_int_ {
  }, old_term_{};
};

std::map<std::string, std::string> Threads(int64_t threads) {
  return {{"OMP_NUM_THREADS", std::to_string(threads)}, {"MKL_NUM_THREADS", std::to_string(threads)}, {"OMP_WAIT_POLICY", "passive"}};
}

ChildSpec Role(const std::string& program, const std::string& role, int64_t index, const RunDir& run, int64_t threads) {
  ChildSpec spec;
  spec.name = index < 0 ? role : fmt::format("{}-{}", role, index);
  spec.command = {ProgramFolder() + program, role, "--run-dir", run.path};
  if (index >= 0) spec.command.insert(spec.command.end(), {"--index", std::to_string(index)});
  spec.environment = Threads(threads);
  return spec;
}

ChildSpec Trainer(const Recipe& recipe, const RunDir& run) {
  ChildSpec spec = Role("candor-torch", "trainer", -1, run, recipe.trainer.threads);
  if (recipe.trainer.ranks == 1) return spec;
  const std::vector<std::string> mpirun = MpirunCommand(recipe.trainer.ranks);
  spec.command.insert(spec.command.begin(), mpirun.begin(), mpirun.end());
  return spec;
}

Status StartAll(const Recipe& recipe, const RunDir& run, Supervisor& supervisor) {
  CANDOR_TRY(supervisor.Start(Role("candor", "coordinator", -1, run, 1)));
  for (int64_t i = 0; i < recipe.reward.workers; ++i) CANDOR_TRY(supervisor.Start(Role("candor", "reward", i, run, 1)));
  for (int64_t i = 0; i < recipe.rollout.workers; ++i)
    CANDOR_TRY(supervisor.Start(Role("candor-torch", "rollout", i, run, recipe.rollout.engine.threads)));
  return supervisor.Start(Trainer(recipe, run));
}

// Reads what was appended to metrics.jsonl since the last look. A torn last line waits for its rest.
class MetricsTail {
 public:
  explicit MetricsTail(std::string path) : path_(std::move(path)) {}
  std::vector<StepMetrics> Read() {
    std::vector<StepMetrics> lines;
    std::ifstream file(path_);
    file.seekg(static_cast<std::streamoff>(offset_));
    for (std::string line; std::getline(file, line) && !file.eof(); offset_ += line.size() + 1) {
      json object = json::parse(line, nullptr, false);
      if (!object.is_object()) continue;
      StepMetrics metrics;
      for (const auto& [key, value] : object.items())
        if (value.is_number()) metrics[key] = value.get<double>();
      lines.push_back(std::move(metrics));
    }
    return lines;
  }

 private:
  std::string path_;
  size_t offset_ = 0;
};

std::string DescribeEnd(const ChildEvent& event, const Supervisor& supervisor) {
  std::string how = event.exit_code > 128 ? fmt::format("was killed by signal {}", event.exit_code - 128)
                                          : fmt::format("ended with exit code {}", event.exit_code);
  std::string reason = event.exit_code > 128 ? "" : TailOfFile(supervisor.LogPath(event.name), 1);  // a killed process had no last words
  while (reason.ends_with('\n')) reason.pop_back();
  return fmt::format("{} {}{}; log: {}{}{}", event.name, how, event.restarted ? ", starting it again" : "", supervisor.LogPath(event.name),
                     reason.empty() ? "" : "\n", reason);
}

Status GaveUp(const ChildEvent& event, const Supervisor& supervisor) {
  return Fail(ErrorCode::kInternal, fmt::format("{} failed too often (exit code {})", event.name, event.exit_code),
              supervisor.LogPath(event.name),
              "the end of its log:\n" + TailOfFile(supervisor.LogPath(event.name), 8) + "mend the cause, then go on with --resume");
}

// A recipe or model that is wrong stays wrong: no use in trying again.
bool Hopeless(const ChildEvent& event) {
  return event.exit_code == static_cast<int>(ExitCode::kInvalidInput) || event.exit_code == static_cast<int>(ExitCode::kUsage);
}

HangLimits LimitsOf(const Recipe& recipe) {
  HangLimits limits;
  limits.start_ms = static_cast<int64_t>(recipe.coordinator.start_timeout_s * 1000);
  limits.silent_ms = static_cast<int64_t>(recipe.coordinator.hang_timeout_s * 1000);
  limits.learner_ms = 2 * limits.silent_ms;
  return limits;
}

Status Watch(const Recipe& recipe, const RunDir& run, Supervisor& supervisor, const Clock& clock, bool quiet) {
  ProgressPrinter progress(recipe.trainer.steps, quiet);
  MetricsTail tail(run.Metrics());
  HangWatch hangs(run.path, recipe.run.name, LimitsOf(recipe), clock);
  for (;;) {
    if (g_stop_signal != 0) {
      progress.Finish();
      std::fprintf(stderr, "stopping (up to 20 s; the next --resume goes on from the newest checkpoint)\n");
      supervisor.Stop(20'000);
      return Fail(ErrorCode::kCancelled, fmt::format("stopped by signal {}", static_cast<int>(g_stop_signal)), run.path,
                  "go on with --resume");
    }
    for (const ChildEvent& event : supervisor.Poll()) {
      if (event.exit_code == 0 && event.name == "trainer") {
        for (const StepMetrics& metrics : tail.Read()) progress.Step(metrics, static_cast<double>(clock.SteadyMs()) / 1000);
        progress.Finish();
        return {};
      }
      if (event.gave_up || (event.exit_code != 0 && Hopeless(event))) {
        progress.Finish();
        return GaveUp(event, supervisor);
      }
      if (event.exit_code != 0) {
        progress.Finish();
        std::fprintf(stderr, "%s\n", DescribeEnd(event, supervisor).c_str());
      }
    }
    for (const StepMetrics& metrics : tail.Read()) {
      progress.Step(metrics, static_cast<double>(clock.SteadyMs()) / 1000);
      supervisor.NoteProgress();
    }
    for (const Hang& hang : hangs.Look(supervisor)) {
      progress.Finish();
      std::fprintf(stderr, "%s hangs: it %s; killing it\n", hang.name.c_str(), hang.why.c_str());
      supervisor.Kill(hang.name);
    }
    ::usleep(kWatchUs);
  }
}

}  // namespace

Status RunRl(const Recipe& recipe, const RunDir& run, bool quiet) {
  if (FileExists(run.RlDone())) return {};
  if (!FileExists(run.path + "/keys")) {
    CANDOR_ASSIGN(RunKeys keys, MakeRunKeys());
    CANDOR_TRY(WriteRunKeys(keys, run.path));
  }
  SystemClock clock;
  Supervisor supervisor(run.Logs(), clock);
  CatchStopSignals catch_signals;
  const int64_t start_ms = clock.SteadyMs();
  if (!quiet)
    std::fprintf(stderr, "reinforcement learning: %ld steps of %ld prompts x %ld answers; logs in %s\n",
                 static_cast<long>(recipe.trainer.steps), static_cast<long>(recipe.trainer.prompts_per_step),
                 static_cast<long>(recipe.trainer.group_size), run.Logs().c_str());
  CANDOR_TRY(StartAll(recipe, run, supervisor));
  CANDOR_TRY(Watch(recipe, run, supervisor, clock, quiet));
  // The trainer is done; the coordinator waits for what is still open (evaluations of the last version), then tells the others, lingers and
  // leaves.
  const int64_t deadline = clock.SteadyMs() + static_cast<int64_t>(recipe.coordinator.linger_s * 1000) + kLastEvaluationsMs;
  while (supervisor.Running("coordinator") && clock.SteadyMs() < deadline && g_stop_signal == 0) {
    (void)supervisor.Poll();
    ::usleep(50'000);
  }
  supervisor.Stop(5000);
  std::error_code error;
  std::filesystem::rename(run.path + "/weights/averaged", run.FinalModel(), error);
  if (error && !FileExists(run.FinalModel() + "/config.json"))
    return Fail(ErrorCode::kInternal, "the trainer left no final policy: " + error.message(), run.path + "/weights/averaged",
                "see " + supervisor.LogPath("trainer"));
  return WriteFileAtomic(
      run.RlDone(), json{{"steps", recipe.trainer.steps}, {"seconds", static_cast<double>(clock.SteadyMs() - start_ms) / 1000}}.dump());
}

}  // namespace candor::cli
