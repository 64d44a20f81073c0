// `candor run RECIPE...`: prepares, runs the stages in order (SFT and its like by a child each; RL as coordinator, reward, rollout and
// mpirun trainer processes that are supervised and restarted), evaluates before and after, and leaves summary.json, report.html and the
// final model in the run's folder.
#include <cstdio>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/done_record.h"
#include "cli/dry_run.h"
#include "cli/memory_estimate.h"
#include "cli/recipe.h"
#include "cli/results.h"
#include "cli/run_dir.h"
#include "cli/run_recipe.h"

namespace candor::cli {

namespace {

struct RunArguments {
  std::vector<std::string> recipes;  // files, then a.b=c overrides
  std::string run_dir;
  bool resume = false, dry_run = false, quiet = false;
};

constexpr char kRunExamples[] = R"(Examples:
  candor run recipes/tiny.toml                          a first look, under a minute
  candor run recipes/cities.toml --dry-run              what it would do, with memory and time
  candor run recipes/cities.toml trainer.steps=20       one setting changed
  candor run base.toml mine.toml --run-dir runs/second  files merge left to right
  candor run recipes/cities.toml --resume               go on where it stopped)";

// Inside an allocation of several nodes the roles are spread over them.
Status RunHere(Recipe& recipe, const RunDir& run, const RunArguments& arguments) {
  RunMode mode{arguments.resume, {}};
  mode.rl.quiet = arguments.quiet;
  CANDOR_TRY(SpreadOverAllocation(recipe, mode.rl));
  CANDOR_TRY(PrepareRun(recipe, run, mode));
  if (const std::string warning = MemoryWarning(recipe, AvailableMemory()); mode.rl.spread == Spread::kThisMachine && !warning.empty())
    std::fprintf(stderr, "warning: %s\n", warning.c_str());
  return RunRecipe(recipe, run, mode);
}

}  // namespace

int RunRun(int argc, const char* const* argv) {
  RunArguments arguments;
  CommandLine app{
      "Runs a recipe on this machine: its stages in order, with live progress; leaves the trained policy, summary.json and report.html in "
      "the run's folder.",
      "candor run"};
  app.Add("RECIPE", &arguments.recipes, "recipe files (merged left to right) and overrides such as trainer.lr=1e-5").Required();
  app.Add("--run-dir", &arguments.run_dir, "the run's folder (default runs/<name>)");
  app.AddFlag("--resume", &arguments.resume, "go on with the run in that folder");
  app.AddFlag("--dry-run", &arguments.dry_run,
              "print the resolved recipe, memory per process, what each objective trains and the time it will take");
  app.AddFlag("--quiet", &arguments.quiet, "no progress, only the result");
  app.AddFooter(kRunExamples);
  if (const auto code = app.Parse(argc, argv)) return *code;

  const auto given = SplitRecipeArguments(arguments.recipes);
  if (!given) return ReportFailure("run", given.error());
  auto recipe = LoadRecipe(given->files, given->overrides);
  if (!recipe) return ReportFailure("run", recipe.error());
  if (Status allowed = RefuseByLint(*recipe); !allowed) return ReportFailure("run", allowed.error());
  if (arguments.dry_run) return PrintDryRun(*recipe);
  RunDir run{arguments.run_dir.empty() ? "runs/" + recipe->run.name : arguments.run_dir};
  if (!IsRunDone(run)) {
    if (Status status = RunHere(*recipe, run, arguments); !status) return ReportFailure("run", status.error());
  } else {
    std::printf("%s; here is its result.\n", DescribeFinished(run, *recipe).c_str());
  }
  return ExitWith("run", PrintResults(run));
}

}  // namespace candor::cli
