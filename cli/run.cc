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

#include "cli/commands.h"
#include "cli/dry_run.h"
#include "cli/recipe.h"
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

Status SplitArguments(const std::vector<std::string>& given, std::vector<std::string>& files, std::vector<std::string>& overrides) {
  for (const std::string& one : given) {
    const bool is_file = one.size() > 5 && one.rfind(".toml") == one.size() - 5;
    (one.find('=') != std::string::npos && !is_file ? overrides : files).push_back(one);
  }
  if (files.empty()) return Fail(ErrorCode::kInvalidInput, "no recipe was named", "", "for example: candor run recipes/tiny.toml");
  return {};
}

Status Prepare(const Recipe& recipe) {
  bool complete = true;
  for (const std::string& path : recipe.prepare.creates) complete = complete && FileExists(path);
  if (recipe.prepare.command.empty() || (complete && !recipe.prepare.creates.empty())) return {};
  std::fprintf(stderr, "preparing: %s\n", fmt::format("{}", fmt::join(recipe.prepare.command, " ")).c_str());
  CANDOR_ASSIGN(int code, RunToEnd(recipe.prepare.command));
  if (code == 0) return {};
  return Fail(ErrorCode::kNotFound, fmt::format("the recipe's prepare.command ended with {}", code), recipe.prepare.command[0],
              "its own words stand above");
}

Status OpenRunDir(const RunDir& run, Recipe& recipe, bool resume) {
  const bool exists = FileExists(run.Recipe());
  if (exists && !resume)
    return Fail(ErrorCode::kInvalidInput, "already holds a run that has not finished", run.path,
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
  CANDOR_TRY(OpenRunDir(run, recipe, arguments.resume));
  CANDOR_ASSIGN(std::string start_model, RunStagesBeforeRl(recipe, run, arguments.quiet));
  Recipe resolved = recipe;
  resolved.run.model = start_model;
  CANDOR_TRY(WriteFileAtomic(run.Resolved(), ResolvedText(resolved)));
  const bool rl = std::find(recipe.run.stages.begin(), recipe.run.stages.end(), "rl") != recipe.run.stages.end();
  CANDOR_TRY(Evaluate(resolved, run, "before", start_model, arguments.quiet));
  if (rl) {
    CANDOR_TRY(RunRl(resolved, run, arguments.quiet));
    CANDOR_TRY(Evaluate(resolved, run, "after", run.FinalModel(), arguments.quiet));
  }
  CANDOR_TRY(WriteResults(resolved, run));
  return WriteFileAtomic(run.Done(), nlohmann::json{{"name", recipe.run.name}}.dump());
}

int Report(const Error& error) {
  std::fprintf(stderr, "candor run: %s\n", error.Message().c_str());
  return static_cast<int>(ExitCodeOf(error.code));
}

}  // namespace

int RunRun(int argc, const char* const* argv) {
  RunArguments arguments;
  CLI::App app{
      "Runs a recipe on this machine: its stages in order, with live progress; leaves the trained policy, summary.json and report.html in "
      "the run's folder.",
      "candor run"};
  app.add_option("recipe", arguments.recipes, "recipe files (merged left to right) and overrides such as trainer.lr=1e-5")->required();
  app.add_option("--run-dir", arguments.run_dir, "the run's folder (default runs/<name>)");
  app.add_flag("--resume", arguments.resume, "go on with the run in that folder");
  app.add_flag("--dry-run", arguments.dry_run,
               "print the resolved recipe, memory per process, what each objective trains and the time it will take");
  app.add_flag("--quiet", arguments.quiet, "no progress, only the result");
  app.footer(kExamples);
  CLI11_PARSE(app, argc, argv);

  std::vector<std::string> files, overrides;
  if (Status split = SplitArguments(arguments.recipes, files, overrides); !split) return Report(split.error());
  auto recipe = LoadRecipe(files, overrides);
  if (!recipe) return Report(recipe.error());
  if (arguments.dry_run) return PrintDryRun(*recipe);
  RunDir run{arguments.run_dir.empty() ? "runs/" + recipe->run.name : arguments.run_dir};
  if (!FileExists(run.Done())) {
    if (Status status = RunAll(*recipe, run, arguments); !status) return Report(status.error());
  } else {
    std::printf("%s holds a finished run; here is its result.\n", run.path.c_str());
  }
  if (Status shown = PrintResults(run); !shown) return Report(shown.error());
  return 0;
}

}  // namespace candor::cli
