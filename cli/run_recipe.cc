#include "cli/run_recipe.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <set>

#include "cli/done_record.h"
#include "cli/lint.h"
#include "cli/recipe_check.h"
#include "cli/results.h"
#include "cli/stages.h"
#include "cli/state_dir.h"
#include "cli/supervisor.h"
#include "core/fs.h"

namespace candor::cli {

Status MakeInputs(const Recipe& recipe) {
  if (!NeedsPreparing(recipe)) return {};
  std::fprintf(stderr, "preparing: %s\n", fmt::format("{}", fmt::join(recipe.prepare.command, " ")).c_str());
  CANDOR_ASSIGN(int code, RunToEnd(recipe.prepare.command));
  if (code == 0) return {};
  return Fail(ErrorCode::kNotFound, fmt::format("the recipe's prepare.command ended with {}", code), recipe.prepare.command[0],
              "its own words stand above");
}

namespace {

Status OpenRunDir(const RunDir& run, Recipe& recipe, bool resume) {
  const bool exists = FileExists(run.Recipe());
  if (exists && !resume)
    return Fail(ErrorCode::kInvalidInput, "the folder already holds a run that has not finished", run.path,
                "add --resume to go on, or choose another folder with --run-dir");
  CANDOR_TRY(MakeFolders(run.Logs()));
  CANDOR_TRY(MakeFolders(run.path + "/eval"));
  CANDOR_TRY(EnsureKeys(run));
  CANDOR_TRY(PrepareStateDir(recipe, run));
  const std::string text = ResolvedText(recipe);
  if (exists) {
    CANDOR_ASSIGN(std::string before, ReadFile(run.Recipe()));
    if (AsWrittenNow(before) != text)
      std::fprintf(stderr, "note: the recipe differs from the one the run began with (%s); going on with the new one\n",
                   run.Recipe().c_str());
  }
  return WriteFileAtomic(run.Recipe(), text);
}

}  // namespace

Status RefuseByLint(const Recipe& recipe) {
  static std::set<std::string> said;  // a sweep has many runs of a recipe; what is said once need not be said for each
  for (const Finding& finding : Lint(recipe)) {
    if (finding.refuses && !finding.allowed)
      return Fail(ErrorCode::kInvalidInput, finding.what + ": " + finding.why, finding.name,
                  fmt::format("{}; or, if it is meant: allow = [\"{}\"]", finding.fix, finding.name));
    if (!finding.allowed && said.insert(Describe(finding)).second) std::fprintf(stderr, "%s\n", Describe(finding).c_str());
  }
  return {};
}

Status SpreadOverAllocation(const Recipe& recipe, RlRun& rl) {
  CANDOR_ASSIGN(std::optional<Allocation> allocation, FindAllocation());
  if (!allocation || (allocation->nodes.size() < 2 && allocation->inside)) return {};
  if (recipe.run.layout == "jobs")
    return Fail(ErrorCode::kInvalidInput, "layout = \"jobs\", but this is one allocation", "layout",
                "use candor submit from a login node, or layout = \"one_job\" here");
  rl.spread = Spread::kAllocation;
  rl.allocation = std::move(*allocation);
  return {};
}

Status PrepareRun(Recipe& recipe, const RunDir& run, const RunMode& mode) {
  CANDOR_TRY(MakeInputs(recipe));
  CANDOR_TRY(CheckInputs(recipe));
  return OpenRunDir(run, recipe, mode.resume);
}

Status RunRecipe(Recipe& recipe, const RunDir& run, const RunMode& mode) {
  CANDOR_ASSIGN(const StartPolicies start, RunStagesBeforeRl(recipe, run, mode.rl.quiet));
  Recipe resolved = recipe;
  resolved.run.model = start.rl;
  CANDOR_TRY(WriteFileAtomic(run.Resolved(), ResolvedText(resolved)));
  const bool rl = std::find(recipe.run.stages.begin(), recipe.run.stages.end(), "rl") != recipe.run.stages.end();
  CANDOR_TRY(Evaluate(resolved, run, "before", start.shared, mode.rl.quiet));
  if (start.shared != start.rl) CANDOR_TRY(Evaluate(resolved, run, "warm_up", start.rl, mode.rl.quiet));
  if (rl) {
    CANDOR_TRY(RunRl(resolved, run, mode.rl));
    CANDOR_TRY(Evaluate(resolved, run, "after", run.FinalModel(), mode.rl.quiet));
  }
  CANDOR_TRY(WriteResults(resolved, run));
  return RecordRunDone(run, recipe);
}

}  // namespace candor::cli
