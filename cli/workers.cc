#include "cli/workers.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/done_record.h"
#include "cli/rl_stage.h"
#include "cli/stop_signals.h"
#include "core/clock.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

using nlohmann::json;
constexpr int64_t kLookMs = 1000;  // how soon the end of the run, a failure or a newer incarnation is noticed

std::string FailurePath(const RunDir& run) { return run.Jobs() + "/failed.json"; }

Status CheckNotFailed(const RunDir& run) {
  const Result<std::string> text = ReadFile(FailurePath(run), size_t{1} << 20);
  if (!text) return {};
  const json body = json::parse(*text, nullptr, false);
  const bool told = body.is_object() && body.contains("why") && body["why"].is_string();
  const std::string why = told ? body["why"].get<std::string>() : *text;
  return Fail(ErrorCode::kUnavailable, "the learners have failed: " + why, FailurePath(run),
              "mend the cause and submit the run again with --resume");
}

}  // namespace

Status RecordFailure(const RunDir& run, const Error& error) {
  return WriteFileAtomic(FailurePath(run), json{{"why", error.Message()}}.dump(-1, ' ', false, json::error_handler_t::replace) + "\n");
}
void ForgetFailure(const RunDir& run) {
  std::error_code ignored;
  std::filesystem::remove(FailurePath(run), ignored);
}

Result<bool> WaitForRun(const RunDir& run, const std::function<bool()>& left_alone) {
  const SystemClock clock;
  const CatchStopSignals signals;
  bool said = false;
  for (int64_t next_look_ms = 0;; ::usleep(200'000)) {
    if (CatchStopSignals::Caught() != 0) return Fail(ErrorCode::kCancelled, "stopped while waiting for the learners", run.path);
    if (clock.SteadyMs() < next_look_ms) continue;
    next_look_ms = clock.SteadyMs() + kLookMs;
    if (FileExists(run.Resolved())) return true;
    if (!said)
      std::fprintf(stderr, "waiting for %s, which the learners write when the stages before RL are done\n", run.Resolved().c_str());
    said = true;
    CANDOR_TRY(CheckNotFailed(run));
    if (left_alone()) return false;
  }
}

Status SuperviseWorkers(std::vector<ChildSpec> specs, const RunDir& run, const WorkersRun& how) {
  const SystemClock clock;
  Supervisor supervisor(run.Logs(), clock);
  const CatchStopSignals signals;
  for (ChildSpec& spec : specs) CANDOR_TRY(supervisor.Start(std::move(spec)));
  for (int64_t next_look_ms = 0; supervisor.AnyRunning(); ::usleep(50'000)) {
    if (const int signal = CatchStopSignals::Caught(); signal != 0) {
      supervisor.Stop(how.stop_grace_ms);
      return Fail(ErrorCode::kCancelled, fmt::format("{} stopped by signal {}", how.what, signal), run.path);
    }
    for (const ChildEvent& event : supervisor.Poll()) {
      if (event.exit_code == 0) continue;
      if (event.exit_code == static_cast<int>(ExitCode::kInterrupted))
        return Fail(ErrorCode::kCollective, event.name + " was told to end, and not by us: Slurm is taking this allocation", run.path,
                    "the job asks for a new start");
      if (event.gave_up || IsHopeless(event)) return GaveUp(event, supervisor);
      std::fprintf(stderr, "%s\n", DescribeEnd(event, supervisor).c_str());
    }
    if (clock.SteadyMs() < next_look_ms) continue;
    next_look_ms = clock.SteadyMs() + kLookMs;
    if (IsRunDone(run) || (how.left_alone && how.left_alone())) break;
    CANDOR_TRY(CheckNotFailed(run));
    CANDOR_TRY(how.still_ours ? how.still_ours() : Status{});
  }
  supervisor.Stop(how.stop_grace_ms);
  return {};
}

}  // namespace candor::cli
