#include "cli/rl_stage.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/done_record.h"
#include "cli/hang_watch.h"
#include "cli/metrics_tail.h"
#include "cli/progress.h"
#include "cli/stop_signals.h"
#include "cli/supervisor.h"
#include "core/clock.h"
#include "core/fs.h"
#include "core/rendezvous.h"

namespace candor::cli {

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

bool IsHopeless(const ChildEvent& event) {
  return event.exit_code == static_cast<int>(ExitCode::kInvalidInput) || event.exit_code == static_cast<int>(ExitCode::kUsage);
}

namespace {

using nlohmann::json;

constexpr useconds_t kWatchUs = 20'000;          // how soon a death is noticed
constexpr int64_t kLastEvaluationsMs = 300'000;  // evaluations of the last version that are still open when the trainer ends

HangLimits LimitsOf(const Recipe& recipe) {
  HangLimits limits;
  limits.start_ms = static_cast<int64_t>(recipe.coordinator.start_timeout_s * 1000);
  limits.silent_ms = static_cast<int64_t>(recipe.coordinator.hang_timeout_s * 1000);
  limits.learner_ms = 2 * limits.silent_ms;
  return limits;
}

Status Watch(const Recipe& recipe, const RunDir& run, Supervisor& supervisor, const Clock& clock, const RlRun& how) {
  ProgressPrinter progress(recipe.trainer.steps, how.quiet);
  MetricsTail tail(run.Metrics());
  HangWatch hangs(run.path, recipe.run.name, LimitsOf(recipe), clock);
  for (;;) {
    if (Status ours = how.still_ours ? how.still_ours() : Status{}; !ours) {
      progress.Finish();
      supervisor.Stop(2000);
      return ours;
    }
    if (CatchStopSignals::Caught() != 0) {
      progress.Finish();
      std::fprintf(stderr, "stopping (up to %d s; the next --resume goes on from the newest checkpoint)\n", how.stop_grace_ms / 1000);
      supervisor.Stop(how.stop_grace_ms);
      return Fail(ErrorCode::kCancelled, fmt::format("stopped by signal {}", CatchStopSignals::Caught()), run.path, "go on with --resume");
    }
    for (const ChildEvent& event : supervisor.Poll()) {
      if (event.exit_code == 0 && event.name == "trainer") {
        for (const StepMetrics& metrics : tail.Read()) progress.Step(metrics, static_cast<double>(clock.SteadyMs()) / 1000);
        progress.Finish();
        return {};
      }
      if (event.exit_code == static_cast<int>(ExitCode::kInterrupted) && event.name == "trainer" && how.spread != Spread::kThisMachine) {
        progress.Finish();  // Slurm ends the steps of a job that it pre-empts; the checkpoint is written
        supervisor.Stop(how.stop_grace_ms);
        return Fail(ErrorCode::kCollective, "the learners were told to end, and not by us: Slurm is taking this allocation", run.path,
                    "the job asks for a new start");
      }
      if (event.gave_up || (event.exit_code != 0 && IsHopeless(event))) {
        progress.Finish();
        const Status failed = GaveUp(event, supervisor);
        supervisor.Stop(how.stop_grace_ms);  // the learners write a checkpoint: the next --resume loses nothing
        return failed;
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

// How many steps rl-done.json says are done; 0 when RL is under way.
int64_t StepsDone(const RunDir& run) {
  const json done = json::parse(ReadFile(run.RlDone(), size_t{1} << 20).value_or(""), nullptr, false);
  const auto steps = done.is_object() ? done.find("steps") : done.end();
  return done.is_object() && steps != done.end() && steps->is_number_integer() ? steps->get<int64_t>() : 0;
}

// RL is done, what comes behind it is not, and the recipe asks for more steps now: the answers of what was the last policy go first, so
// that whatever kills us here, no older answers are taken for the new one's.
Status GoOnBehindTheEnd(const Recipe& recipe, const RunDir& run, int64_t done, bool quiet) {
  if (!quiet)
    std::fprintf(stderr, "going on behind step %ld, which was the last: now to step %ld\n", static_cast<long>(done),
                 static_cast<long>(recipe.trainer.steps));
  for (const std::string& file : {run.Answers("after"), run.RlDone()}) CANDOR_TRY(RemoveTree(file));
  return {};
}

// Takes the place of the policy of an earlier end.
Status KeepFinalPolicy(const RunDir& run, const Supervisor& supervisor) {
  const std::string averaged = run.path + "/weights/averaged";
  if (FileExists(averaged + "/config.json")) CANDOR_TRY(RemoveTree(run.FinalModel()));
  std::error_code error;
  std::filesystem::rename(averaged, run.FinalModel(), error);
  if (error && !FileExists(run.FinalModel() + "/config.json"))
    return Fail(ErrorCode::kInternal, "the trainer left no final policy: " + error.message(), averaged,
                "see " + supervisor.LogPath("trainer"));
  return {};
}

}  // namespace

Status RunRl(const Recipe& recipe, const RunDir& run, const RlRun& how) {
  if (const int64_t done = StepsDone(run); done >= recipe.trainer.steps)
    return {};
  else if (done > 0)
    CANDOR_TRY(GoOnBehindTheEnd(recipe, run, done, how.quiet));
  CANDOR_TRY(EnsureKeys(run));
  SystemClock clock;
  Supervisor supervisor(run.Logs(), clock);
  const CatchStopSignals catch_signals;
  const int64_t start_ms = clock.SteadyMs();
  if (!how.quiet)
    std::fprintf(stderr, "reinforcement learning: %ld steps of %ld prompts x %ld answers; logs in %s\n",
                 static_cast<long>(recipe.trainer.steps), static_cast<long>(recipe.trainer.prompts_per_step),
                 static_cast<long>(recipe.trainer.group_size), run.Logs().c_str());
  for (ChildSpec& spec : PlaceRoles(recipe, run, how.spread, how.allocation)) CANDOR_TRY(supervisor.Start(std::move(spec)));
  CANDOR_TRY(Watch(recipe, run, supervisor, clock, how));
  // The trainer is done; the coordinator waits for what is still open (evaluations of the last version), then tells the others, lingers and
  // leaves.
  const int64_t deadline = clock.SteadyMs() + static_cast<int64_t>(recipe.coordinator.linger_s * 1000) + kLastEvaluationsMs;
  const auto coordinator_lives = [&] {
    return how.spread == Spread::kLearners ? !IsRunFinished(run.path, static_cast<uint64_t>(recipe.trainer.steps))
                                           : supervisor.Running("coordinator");
  };
  while (coordinator_lives() && clock.SteadyMs() < deadline && CatchStopSignals::Caught() == 0) {
    (void)supervisor.Poll();
    ::usleep(50'000);
  }
  supervisor.Stop(5000);
  CANDOR_TRY(KeepFinalPolicy(run, supervisor));
  CANDOR_TRY(WriteFileAtomic(
      run.RlDone(), json{{"steps", recipe.trainer.steps}, {"seconds", static_cast<double>(clock.SteadyMs() - start_ms) / 1000}}.dump()));
  if (CatchStopSignals::Caught() != 0) return Fail(ErrorCode::kCancelled, "stopped behind the last step", run.path, "go on with --resume");
  return {};
}

}  // namespace candor::cli
