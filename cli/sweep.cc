// `candor sweep RECIPE key=v1,v2...`, or a file of arms: every combination as a run of its own under one folder, one after the other, and a
// table and a picture of accuracy against Brier score. Finished points are shown, interrupted ones go on.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/dry_run.h"
#include "cli/progress.h"
#include "cli/run_dir.h"
#include "cli/run_recipe.h"
#include "cli/stop_signals.h"
#include "cli/supervisor.h"
#include "cli/sweep_arms.h"
#include "cli/sweep_points.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

constexpr int kLookMs = 100;
constexpr int kStopGraceMs = 120'000;  // a run that is told to stop writes a checkpoint first

constexpr char kSweepExamples[] = R"(Examples:
  candor sweep recipes/cities.toml objective.1.weight=0.5,1,2,4           four runs, one after the other
  candor sweep recipes/tiny.toml trainer.lr=5e-4,1e-3 seed=1,2 --dry-run  the four points and the time they will take
  candor sweep recipes/tiny.toml trainer.lr=5e-4,1e-3 trainer.steps=20    a single value is a setting of every point
  candor sweep mine.toml "format.tags=['answer'],['think','answer']"      commas inside brackets and quotes do not divide
  candor sweep recipes/compare/urn-arms.toml                              a file of arms: several recipes, some seeds of each
  candor sweep recipes/compare/urn-arms.toml --only urn-rlcr seed=1,2     two seeds of one of them
The same command again goes on: finished points are shown, not run again. A list may grow. `candor compare --seeds` measures arms.)";

struct SweepArguments {
  std::vector<std::string> recipe, only;
  std::string folder;
  bool dry_run = false, json = false, quiet = false;
};

class Sweep {
 public:
  Sweep(SweepArguments arguments, SweepArms arms) : arguments_(std::move(arguments)), arms_(std::move(arms)) {}

  // Every point's recipe is checked before the first one runs.
  Status Prepare();
  Status PrintPlan() const;
  Status RunAll();
  Status Show();

 private:
  Status RunPoint(size_t i);
  void ShowProgress(size_t i, bool done) const;
  std::string Sheet() const;
  Status Write();

  SweepArguments arguments_;
  SweepArms arms_;
  std::string title_, folder_;
  std::vector<SweepPoint> points_;
  // Parallel to the points.
  std::vector<size_t> arm_of_;
  std::vector<Recipe> recipes_;
  std::vector<std::vector<std::string>> overrides_;
};

Status Sweep::Prepare() {
  std::vector<std::string> names;
  for (const SweepArm& arm : arms_.arms) {
    CANDOR_ASSIGN(const Recipe base, LoadSettings(arm.plan.files, arm.plan.overrides));
    if (arms_.name.empty()) arms_.name = base.run.name;
    if (arms_.title.empty()) arms_.title = base.run.title.empty() ? base.run.name : base.run.title;
    names.push_back(base.run.name);
  }
  title_ = arms_.title;
  folder_ = arguments_.folder.empty() ? "runs/sweep-" + arms_.name : arguments_.folder;
  CANDOR_ASSIGN(points_, PointsOf(arms_, folder_, &arm_of_));
  for (size_t i = 0; i < points_.size(); ++i) {
    SweepPoint& point = points_[i];
    const SweepPlan& plan = arms_.arms[arm_of_[i]].plan;
    overrides_.push_back(OverridesOf(plan, point, names[arm_of_[i]]));
    auto recipe = LoadRecipe(plan.files, overrides_.back());
    Status fine = recipe ? RefuseByLint(*recipe) : Status(Fail(recipe.error()));
    if (fine) fine = LookAtPoint(*recipe, point);
    if (!fine) return Fail(fine.error().code, point.name + ": " + fine.error().what, fine.error().where, fine.error().fix);
    recipes_.push_back(std::move(*recipe));
  }
  if (const auto before = ReadFile(folder_ + "/sweep.json"); before)  // what earlier sessions of this sweep measured
    ReadSeconds(nlohmann::json::parse(*before, nullptr, false), points_);
  return {};
}

Status Sweep::PrintPlan() const {
  double measured = 0, bound = 0;
  int finished = 0, left = 0;
  bool known = true;
  for (size_t i = 0; i < points_.size(); ++i) {
    const SweepPoint& point = points_[i];
    const auto seconds = EstimateRlSeconds(recipes_[i]);
    known = known && seconds.has_value();
    std::string line = fmt::format("{:>4}  {}  ", i + 1, point.name);
    if (point.state == PointState::kFinished) {
      line += point.seconds > 0 ? "finished in " + Duration(point.seconds) : "finished";
      if (point.seconds > 0) ++finished, measured += point.seconds;
    } else {
      ++left;
      bound += seconds.value_or(0);
      line += fmt::format("{}, {} steps of RL", point.state == PointState::kInterrupted ? "to go on" : "to run", recipes_[i].trainer.steps);
      if (seconds) line += fmt::format(" ({} of computing at most)", Duration(std::ceil(*seconds)));
    }
    std::printf("%s\n", line.c_str());
  }
  std::printf("%zu points under %s, %d left, one after the other", points_.size(), folder_.c_str(), left);
  if (finished > 0)
    std::printf(": about %s, as the finished ones took\n", Duration(measured / finished * left).c_str());
  else if (known)
    std::printf(
        ": RL computes for %s at most on two cores that are fast in bf16; starting, evaluating and earlier stages come on top, and are "
        "known "
        "once a point has finished\n",
        Duration(std::ceil(bound)).c_str());
  else
    std::printf("; the time is unknown until the model is there\n");
  return {};
}

void Sweep::ShowProgress(size_t i, bool done) const {
  if (arguments_.quiet || (!done && ::isatty(STDERR_FILENO) != 1)) return;
  std::ifstream metrics(RunDir{points_[i].folder}.Metrics());
  int64_t steps = 0;
  for (std::string line; std::getline(metrics, line);) ++steps;
  std::fprintf(stderr, "%s[%zu/%zu] %s: %s%s", done ? "" : "\r\033[K", i + 1, points_.size(), points_[i].name.c_str(),
               done ? Name(points_[i].state) : fmt::format("step {} of {}", steps, recipes_[i].trainer.steps).c_str(), done ? "\n" : "");
  std::fflush(stderr);
}

Status Sweep::RunPoint(size_t i) {
  SweepPoint& point = points_[i];
  const SystemClock clock;
  const int64_t begun = clock.SteadyMs();
  ChildSpec child{"run", {ProgramFolder() + "candor", "run"}, {}, false};
  const std::vector<std::string>& files = arms_.arms[arm_of_[i]].plan.files;
  child.command.insert(child.command.end(), files.begin(), files.end());
  child.command.insert(child.command.end(), overrides_[i].begin(), overrides_[i].end());
  child.command.insert(child.command.end(), {"--run-dir", point.folder});
  if (point.state == PointState::kInterrupted) child.command.push_back("--resume");
  const std::string logs = folder_ + "/logs/" + point.name;
  CANDOR_TRY(MakeFolders(logs));
  Supervisor supervisor(logs, clock);
  CANDOR_TRY(supervisor.Start(std::move(child)));
  while (supervisor.AnyRunning() && CatchStopSignals::Caught() == 0) {
    supervisor.Poll();
    ShowProgress(i, false);
    std::this_thread::sleep_for(std::chrono::milliseconds(kLookMs));
  }
  if (supervisor.AnyRunning()) supervisor.Stop(kStopGraceMs);
  point.seconds += static_cast<double>(clock.SteadyMs() - begun) / 1000.0;
  point.error.clear();
  CANDOR_TRY(LookAtPoint(recipes_[i], point));
  if (CatchStopSignals::Caught() == 0 && point.state != PointState::kFinished)
    point.state = PointState::kFailed, point.error = TailOfFile(supervisor.LogPath("run"), 5);
  ShowProgress(i, true);
  return {};
}

Status Sweep::RunAll() {
  CANDOR_TRY(PrepareOutput(folder_ + "/sweep.json"));
  CatchStopSignals signals;
  for (size_t i = 0; i < points_.size(); ++i) {
    if (points_[i].state == PointState::kFinished) {
      ShowProgress(i, true);
      continue;
    }
    CANDOR_TRY(RunPoint(i));
    CANDOR_TRY(Write());
    if (CatchStopSignals::Caught() != 0)
      return Fail(ErrorCode::kCancelled, fmt::format("stopped by signal {} in {}", CatchStopSignals::Caught(), points_[i].name), folder_,
                  "the same command goes on");
  }
  return {};
}

// A log's last words may be no UTF-8.
std::string Sweep::Sheet() const { return SweepJson(title_, points_).dump(1, ' ', false, nlohmann::json::error_handler_t::replace); }

Status Sweep::Write() {
  MarkPareto(points_);
  CANDOR_TRY(WriteFileAtomic(folder_ + "/sweep.json", Sheet() + "\n"));
  return WriteFileAtomic(folder_ + "/sweep.html", SweepHtml(title_, points_));
}

Status Sweep::Show() {
  CANDOR_TRY(Write());
  if (arguments_.json)
    std::printf("%s\n", Sheet().c_str());
  else
    std::printf("%s\npicture: %s/sweep.html\n", SweepText(points_).c_str(), folder_.c_str());
  for (const SweepPoint& point : points_)
    if (point.state == PointState::kFailed)
      return Fail(ErrorCode::kUnavailable, "the run ended early:\n" + point.error, folder_ + "/logs/" + point.name + "/run.log",
                  "the same command tries it again");
  return {};
}

}  // namespace

int RunSweep(int argc, const char* const* argv) {
  SweepArguments arguments;
  CommandLine app{
      "Runs a recipe once for every combination of the given values, each as a run of its own under one folder, and shows accuracy against "
      "Brier score with the Pareto points: a table here, sweep.json and sweep.html in the folder.",
      "candor sweep"};
  app.Add("RECIPE", &arguments.recipe, "recipe files, overrides a.b=c, and lists a.b=v1,v2,v3 to sweep over; or a file of arms").Required();
  app.Add("--only", &arguments.only, "arms of a file of arms that are run; default all");
  app.Add("--dir", &arguments.folder, "the sweep's folder (default runs/sweep-<name>)");
  app.AddFlag("--dry-run", &arguments.dry_run, "list the points, what has become of each, and the time that is left");
  app.AddFlag("--json", &arguments.json, "print sweep.json instead of the table");
  app.AddFlag("--quiet", &arguments.quiet, "no progress");
  app.AddFooter(kSweepExamples);
  if (const auto code = app.Parse(argc, argv)) return *code;
  auto arms = PlanArms(arguments.recipe, arguments.only);
  if (!arms) return ReportFailure("sweep", arms.error());
  const bool dry_run = arguments.dry_run;
  Sweep sweep(std::move(arguments), std::move(*arms));
  if (Status ready = sweep.Prepare(); !ready) return ReportFailure("sweep", ready.error());
  if (dry_run) return ExitWith("sweep", sweep.PrintPlan());
  const Status ran = sweep.RunAll();
  const Status shown = sweep.Show();
  return ExitWith("sweep", ran ? shown : ran);
}

}  // namespace candor::cli
