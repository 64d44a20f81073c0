#include "cli/sweep_runner.h"

#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <thread>

#include "cli/metrics_tail.h"
#include "cli/progress.h"
#include "cli/run_dir.h"
#include "cli/run_recipe.h"
#include "cli/stop_signals.h"
#include "cli/supervisor.h"
#include "cli/sweep_points.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

constexpr int kLookMs = 100;
constexpr int kStopGraceMs = 120'000;  // a run that is told to stop writes a checkpoint first

// The live line of a point: looks ten times a second at what its run appended.
class StepLine {
 public:
  StepLine(const PointRun& run, const SweepPoint& point, const PointPlace& place)
      : point_(point), place_(place), steps_(run.recipe.trainer.steps), tail_(RunDir{point.folder}.Metrics()) {}
  void Show() {
    if (place_.quiet || ::isatty(STDERR_FILENO) != 1) return;
    for (const StepMetrics& metrics : tail_.Read())
      if (const auto step = metrics.find("step"); step != metrics.end()) step_ = static_cast<int64_t>(step->second);
    std::fprintf(stderr, "\r\033[K[%zu/%zu] %s: step %ld of %ld", place_.number, place_.of, point_.name.c_str(), static_cast<long>(step_),
                 static_cast<long>(steps_));
    std::fflush(stderr);
  }

 private:
  const SweepPoint& point_;
  const PointPlace& place_;
  const int64_t steps_;
  MetricsTail tail_;
  int64_t step_ = 0;
};

Status RemoveCheckpoints(const RunDir& run) {
  CANDOR_TRY(RemoveTree(run.Checkpoints()));
  return RemoveTree(run.Weights());
}

}  // namespace

Result<PointRun> PlanPoint(const std::vector<std::string>& files, const std::vector<std::string>& overrides, SweepPoint& point) {
  auto recipe = LoadRecipe(files, overrides);
  Status fine = recipe ? RefuseByLint(*recipe) : Status(Fail(recipe.error()));
  if (fine) fine = LookAtPoint(*recipe, point);
  if (!fine) return Fail(fine.error().code, point.name + ": " + fine.error().what, fine.error().where, fine.error().fix);
  return PointRun{files, overrides, std::move(*recipe)};
}

Status RunPoint(PointRun& run, SweepPoint& point, const std::string& logs, const PointPlace& place) {
  const SystemClock clock;
  const int64_t begun = clock.SteadyMs();
  ChildSpec child{"run", {ProgramFolder() + "candor", "run"}, {}, false};
  child.command.insert(child.command.end(), run.files.begin(), run.files.end());
  child.command.insert(child.command.end(), run.overrides.begin(), run.overrides.end());
  child.command.insert(child.command.end(), {"--run-dir", point.folder});
  if (point.state == PointState::kInterrupted) child.command.push_back("--resume");
  const std::string log_folder = logs + "/" + point.name;
  CANDOR_TRY(MakeFolders(log_folder));
  Supervisor supervisor(log_folder, clock);
  CANDOR_TRY(supervisor.Start(std::move(child)));
  StepLine line(run, point, place);
  while (supervisor.AnyRunning() && CatchStopSignals::Caught() == 0) {
    supervisor.Poll();
    line.Show();
    std::this_thread::sleep_for(std::chrono::milliseconds(kLookMs));
  }
  if (supervisor.AnyRunning()) supervisor.Stop(kStopGraceMs);
  point.seconds += static_cast<double>(clock.SteadyMs() - begun) / 1000.0;
  point.error.clear();
  CANDOR_TRY(LookAtPoint(run.recipe, point));
  if (CatchStopSignals::Caught() == 0 && point.state != PointState::kFinished)
    point.state = PointState::kFailed, point.error = TailOfFile(supervisor.LogPath("run"), 5);
  if (point.state == PointState::kFinished && !place.keep_checkpoints) CANDOR_TRY(RemoveCheckpoints(RunDir{point.folder}));
  TellPoint(point, place);
  return {};
}

void TellPoint(const SweepPoint& point, const PointPlace& place) {
  if (place.quiet) return;
  std::string words = Name(point.state);
  if (point.state == PointState::kFinished && point.seconds > 0) {
    words += " in " + Duration(point.seconds);
    const double each = (place.measured_s + point.seconds) / static_cast<double>(place.measured + 1);
    if (place.left > 0) words += fmt::format(", about {} left", Duration(each * static_cast<double>(place.left)));
  }
  std::fprintf(stderr, "%s[%zu/%zu] %s: %s\n", ::isatty(STDERR_FILENO) == 1 ? "\r\033[K" : "", place.number, place.of, point.name.c_str(),
               words.c_str());
}

}  // namespace candor::cli
