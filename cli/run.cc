// `candor run RECIPE...`: prepares, runs the stages in order (SFT and its like by a child each; RL as coordinator, reward, rollout and
// mpirun trainer processes that are supervised and restarted), evaluates before and after, and leaves summary.json, report.html and the
// final model in the run's folder.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/dry_run.h"
#include "cli/lint.h"
#include "cli/recipe.h"
#include "cli/recipe_check.h"
#include "cli/results.h"
#include "cli/rl_stage.h"
#include "cli/run_dir.h"
#include "cli/stages.h"
#include "cli/supervisor.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

struct RunArguments {
  std::vector<std::string> recipes;  // files, then a.b=c overrides
  std::string run_dir;
  bool resume = false, dry_run = false, quiet = false;
};

constexpr char kExamples[] = R"(Examples:
  candor run recipes/tiny.toml                          a first look, under a minute
  candor run recipes/cities.toml --dry-run              what it would do, with memory and time
  candor run recipes/cities.toml trainer.steps=20       one setting changed
  candor run base.toml mine.toml --run-dir runs/second  files merge left to right
  candor run recipes/cities.toml --resume               go on where it stopped)";

Status Prepare(const Recipe& recipe) {
  if (!NeedsPreparing(recipe)) return {};
  std::fprintf(stderr, "preparing: %s\n", fmt::format("{}", fmt::join(recipe.prepare.command, " ")).c_str());
  CANDOR_ASSIGN(int code, RunToEnd(recipe.prepare.command));
  if (code == 0) return {};
  return Fail(ErrorCode::kNotFound, fmt::format("the recipe's prepare.command ended with {}", code), recipe.prepare.command[0],
              "its own words stand above");
}

// What is known to miscalibrate is not trained by oversight.
Status RefuseByLint(const Recipe& recipe) {
  for (const Finding& finding : Lint(recipe)) {
    if (finding.refuses && !finding.allowed)
      return Fail(ErrorCode::kInvalidInput, finding.what + ": " + finding.why, finding.name,
                  fmt::format("{}; or, if it is meant: allow = [\"{}\"]", finding.fix, finding.name));
    if (!finding.allowed) std::fprintf(stderr, "%s\n", Describe(finding).c_str());
  }
  return {};
}

Status OpenRunDir(const RunDir& run, Recipe& recipe, bool resume) {
  const bool exists = FileExists(run.Recipe());
  if (exists && !resume)
    return Fail(ErrorCode::kInvalidInput, "the folder already holds a run that has not finished", run.path,
                "add --resume to go on, or choose another folder with --run-dir");
  CANDOR_TRY(MakeFolders(run.Logs()));
  CANDOR_TRY(MakeFolders(run.path + "/eval"));
  const std::string text = ResolvedText(recipe);
  if (exists) {
    CANDOR_ASSIGN(std::string before, ReadFile(run.Recipe()));
    if (before != text)
      std::fprintf(stderr, "note: the recipe differs from the one the run began with (%s); going on with the new one\n",
                   run.Recipe().c_str());
  }
  return WriteFileAtomic(run.Recipe(), text);
}

Status RunAll(Recipe& recipe, const RunDir& run, const RunArguments& arguments) {
  CANDOR_TRY(Prepare(recipe));
  CANDOR_TRY(CheckInputs(recipe));
  CANDOR_TRY(OpenRunDir(run, recipe, arguments.resume));
  CANDOR_ASSIGN(const StartPolicies start, RunStagesBeforeRl(recipe, run, arguments.quiet));
  Recipe resolved = recipe;
  resolved.run.model = start.rl;
  CANDOR_TRY(WriteFileAtomic(run.Resolved(), ResolvedText(resolved)));
  const bool rl = std::find(recipe.run.stages.begin(), recipe.run.stages.end(), "rl") != recipe.run.stages.end();
  CANDOR_TRY(Evaluate(resolved, run, "before", start.shared, arguments.quiet));
  if (start.shared != start.rl) CANDOR_TRY(Evaluate(resolved, run, "warm_up", start.rl, arguments.quiet));
  if (rl) {
    CANDOR_TRY(RunRl(resolved, run, arguments.quiet));
    CANDOR_TRY(Evaluate(resolved, run, "after", run.FinalModel(), arguments.quiet));
  }
  CANDOR_TRY(WriteResults(resolved, run));
  return WriteFileAtomic(run.Done(), nlohmann::json{{"name", recipe.run.name}}.dump());
}

}  // namespace

int RunRun(int argc, const char* const* argv) {
  RunArguments arguments;
  CLI::App app{
      "Runs a recipe on this machine: its stages in order, with live progress; leaves the trained policy, summary.json and report.html in "
      "the run's folder.",
      "candor run"};
  app.add_option("RECIPE", arguments.recipes, "recipe files (merged left to right) and overrides such as trainer.lr=1e-5")->required();
  app.add_option("--run-dir", arguments.run_dir, "the run's folder (default runs/<name>)");
  app.add_flag("--resume", arguments.resume, "go on with the run in that folder");
  app.add_flag("--dry-run", arguments.dry_run,
               "print the resolved recipe, memory per process, what each objective trains and the time it will take");
  app.add_flag("--quiet", arguments.quiet, "no progress, only the result");
  app.footer(kExamples);
  if (const auto code = ParseCommandLine(app, argc, argv)) return *code;

  const auto given = SplitRecipeArguments(arguments.recipes);
  if (!given) return ReportFailure("run", given.error());
  auto recipe = LoadRecipe(given->files, given->overrides);
  if (!recipe) return ReportFailure("run", recipe.error());
  if (Status allowed = RefuseByLint(*recipe); !allowed) return ReportFailure("run", allowed.error());
  if (arguments.dry_run) return PrintDryRun(*recipe);
  RunDir run{arguments.run_dir.empty() ? "runs/" + recipe->run.name : arguments.run_dir};
  if (!FileExists(run.Done())) {
    if (Status status = RunAll(*recipe, run, arguments); !status) return ReportFailure("run", status.error());
  } else {
    std::printf("%s holds a finished run; here is its result.\n", run.path.c_str());
  }
  return ExitWith("run", PrintResults(run));
}

}  // namespace candor::cli
