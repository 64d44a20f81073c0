// `candor check RECIPE`: explains what a recipe will do and refuses objectives that are known to miscalibrate, with the reason and the fix,
// unless the recipe allows them by name.
#include <cstdio>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/dry_run.h"
#include "cli/lint.h"
#include "cli/recipe.h"
#include "cli/recipe_check.h"
#include "core/options.h"

namespace candor::cli {

int RunCheck(int argc, const char* const* argv) {
  std::vector<std::string> given;
  bool reference = false;
  CommandLine app{
      "Explains what each objective of a recipe trains and refuses combinations that are known to miscalibrate; a recipe may allow one by "
      "name: allow = [\"...\"].",
      "candor check"};
  app.Add("RECIPE", &given, "recipe files (merged left to right) and overrides a.b=c");
  app.AddFlag("--reference", &reference, "print every key that a recipe may hold, with default, range and meaning (Markdown)");
  app.AddFooter(
      "Examples:\n  candor check recipes/cities.toml\n  candor check recipes/cities.toml objective.0.weight=2\n  candor check --reference "
      "> docs/recipe-reference.md");
  if (const auto code = app.Parse(argc, argv)) return *code;
  if (reference) {
    Recipe recipe;
    OptionTable table;
    Declare(table, recipe);
    std::printf("%s", ReferencePage(table).c_str());
    return 0;
  }
  const auto split = SplitRecipeArguments(given);
  if (!split) return ReportFailure("check", split.error());
  auto recipe = LoadRecipe(split->files, split->overrides);
  if (!recipe) return ReportFailure("check", recipe.error());
  if (NeedsPreparing(*recipe)) {
    std::printf("Model and data were not looked at: `candor run` makes them first, with [prepare].\n\n");
  } else if (Status inputs = CheckInputs(*recipe); !inputs) {
    return ReportFailure("check", inputs.error());
  }
  std::printf("%s trains\n%s", recipe->run.name.c_str(), ExplainObjectives(*recipe).c_str());
  std::printf("%s", ExplainOptimum(*recipe).c_str());
  std::vector<Finding> findings = Lint(*recipe);
  for (const Finding& finding : findings) std::printf("\n%s\n", Describe(finding).c_str());
  if (findings.empty()) std::printf("\nNothing known speaks against it.\n");
  return Refused(findings) ? static_cast<int>(ExitCode::kInvalidInput) : 0;
}

}  // namespace candor::cli
