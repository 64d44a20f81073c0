// `candor sweep RECIPE key=v1,v2...`, or a file of arms: every combination as a run of its own under one folder, one after the other, and a
// table and a picture of accuracy against Brier score. Finished points are shown, interrupted ones go on. A file whose
// [[arm]]s have configurations is a protocol (protocol.h).
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/dry_run.h"
#include "cli/progress.h"
#include "cli/protocol.h"
#include "cli/stop_signals.h"
#include "cli/sweep_arms.h"
#include "cli/sweep_points.h"
#include "cli/sweep_runner.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

constexpr char kSweepExamples[] = R"(Examples:
  candor sweep recipes/cities.toml objective.1.weight=0.5,1,2,4           four runs, one after the other
  candor sweep recipes/tiny.toml trainer.lr=5e-4,1e-3 seed=1,2 --dry-run  the four points and the time they will take
  candor sweep recipes/tiny.toml trainer.lr=5e-4,1e-3 trainer.steps=20    a single value is a setting of every point
  candor sweep mine.toml "format.tags=['answer'],['think','answer']"      commas inside brackets and quotes do not divide
  candor sweep recipes/compare/urn-arms.toml                              a file of arms: several recipes, some seeds of each
  candor sweep recipes/compare/urn-arms.toml --only urn-rlcr seed=1,2     two seeds of one of them
  candor sweep recipes/protocol/cities.toml --dry-run                     a protocol: arms, tuned and compared over seeds
The same command again goes on: finished points are shown, not run again. A list may grow. `candor compare --seeds` measures arms.)";

struct SweepArguments {
  std::vector<std::string> recipe, only;
  std::string folder;
  bool dry_run = false, json = false, quiet = false, keep_checkpoints = false;
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
  std::string Sheet() const;
  Status Write();

  SweepArguments arguments_;
  SweepArms arms_;
  std::string title_, folder_;
  std::vector<SweepPoint> points_;
  // Parallel to the points.
  std::vector<size_t> arm_of_;
  std::vector<PointRun> runs_;
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
    CANDOR_ASSIGN(PointRun run, PlanPoint(plan.files, OverridesOf(plan, point, names[arm_of_[i]]), point));
    runs_.push_back(std::move(run));
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
    const auto seconds = EstimateRlSeconds(runs_[i].recipe);
    known = known && seconds.has_value();
    std::string line = fmt::format("{:>4}  {}  ", i + 1, point.name);
    if (point.state == PointState::kFinished) {
      line += point.seconds > 0 ? "finished in " + Duration(point.seconds) : "finished";
      if (point.seconds > 0) ++finished, measured += point.seconds;
    } else {
      ++left;
      bound += seconds.value_or(0);
      line +=
          fmt::format("{}, {} steps of RL", point.state == PointState::kInterrupted ? "to go on" : "to run", runs_[i].recipe.trainer.steps);
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

Status Sweep::RunAll() {
  CANDOR_TRY(PrepareOutput(folder_ + "/sweep.json"));
  CatchStopSignals signals;
  PointPlace place{0, points_.size(), arguments_.quiet};
  place.keep_checkpoints = arguments_.keep_checkpoints;
  for (size_t i = 0; i < points_.size(); ++i) {
    ++place.number;
    place.left = static_cast<size_t>(std::count_if(points_.begin() + i + 1, points_.end(),
                                                   [](const SweepPoint& later) { return later.state != PointState::kFinished; }));
    if (points_[i].state == PointState::kFinished) {
      PointPlace shown = place;
      shown.left = 0;
      TellPoint(points_[i], shown);
      continue;
    }
    CANDOR_TRY(RunPoint(runs_[i], points_[i], folder_ + "/logs", place));
    place.measured_s += points_[i].seconds, ++place.measured;
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
      "Brier score with the Pareto points: a table here, sweep.json and sweep.html in the folder. With a protocol (a file whose [[arm]]s "
      "have configurations) it tunes every arm on dev, runs each from several seeds, and compares them on the held-out set.",
      "candor sweep"};
  app.Add("RECIPE", &arguments.recipe, "recipe files, overrides a.b=c, and lists a.b=v1,v2,v3 to sweep over; or a file of arms").Required();
  app.Add("--only", &arguments.only, "arms of a file of arms that are run; default all");
  app.Add("--dir", &arguments.folder, "the sweep's folder (default runs/sweep-<name>)");
  app.AddFlag("--dry-run", &arguments.dry_run, "list the points, what has become of each, and the time that is left");
  app.AddFlag("--json", &arguments.json, "print sweep.json instead of the table");
  app.AddFlag("--quiet", &arguments.quiet, "no progress");
  app.AddFlag("--keep-checkpoints", &arguments.keep_checkpoints,
              "keep checkpoints and published weights of finished runs too; by default only their final policy and their record stay");
  app.AddFooter(kSweepExamples);
  if (const auto code = app.Parse(argc, argv)) return *code;
  if (const auto file = ProtocolAmong(arguments.recipe); !file) {
    return ReportFailure("sweep", file.error());
  } else if (!file->empty()) {
    const auto split = SplitRecipeArguments(arguments.recipe);
    return ExitWith("sweep", RunProtocol(*file, {arguments.folder, arguments.dry_run, arguments.json, arguments.quiet,
                                                 arguments.keep_checkpoints, split->overrides}));
  }
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
