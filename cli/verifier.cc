// candor verifier test: tries a recipe's verifiers, or one given on the command line, on data rows before a run depends on them.
#include <cstdio>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/recipe.h"
#include "core/log.h"
#include "core/options.h"
#include "reward/verifier_trial.h"
#include "text/rows.h"

namespace candor::cli {
namespace {

constexpr const char* kVerifierExamples = R"(
Each row's own answer is submitted and must be called correct; another row's answer, an empty one and nonsense must not be. The exit code is 1 when they are not.

Examples:
  candor verifier test recipe.toml --rows data/train.jsonl
  candor verifier test --kind numeric --rows rows.jsonl
  candor verifier test --command python3 my_reward.py --rows rows.jsonl
  candor verifier test --command python3 reward/adapters/verl_compute_score.py my_module:compute_score --rows rows.jsonl
  candor verifier test --url http://127.0.0.1:8000/grade --allow-host 127.0.0.1 --rows rows.jsonl --n 100
  candor verifier test --kind python_tests --rows problems.jsonl        (rows: "answer" = reference code, "tests" = asserts)

A verifier reads one JSON line {"id", "prompt", "completion", "answer", "row"} per completion and writes one
  {"id": the same, "label": "correct" | "wrong" | "unknown" | 0..1, "rewards": {"name": 0.5}, "reason": "why"}
on stdout; notes go to stderr.
)";

struct VerifierArguments {
  std::vector<std::string> recipes;
  std::string rows;
  int64_t n = 20;
  VerifierOptions verifier;
};

// The parts of a recipe that decide how an answer is graded.
struct GradingOptions {
  RewardOptions reward;
  FormatOptions format;
  DataOptions data;
};

Result<GradingOptions> ReadOptions(const VerifierArguments& arguments) {
  GradingOptions options;
  if (arguments.recipes.empty()) {
    options.format.tags.clear();
    options.format.confidence = "none";
    options.reward.verifiers.push_back(arguments.verifier);
    return options;
  }
  CANDOR_ASSIGN(const RecipeArguments given, SplitRecipeArguments(arguments.recipes));
  CANDOR_ASSIGN(Recipe recipe, LoadSettings(given.files, given.overrides));
  return GradingOptions{std::move(recipe.reward), std::move(recipe.format), std::move(recipe.data)};
}

Result<bool> Try(const VerifierArguments& arguments) {
  CANDOR_ASSIGN(GradingOptions options, ReadOptions(arguments));
  CANDOR_ASSIGN(TagFormat format, TagFormat::From(options.format.tags, options.format.confidence));
  DataSet set;
  if (!arguments.rows.empty()) {
    CANDOR_ASSIGN(set, ReadDataSet(arguments.rows, options.data.fields, {}, arguments.n));
  } else {
    CANDOR_ASSIGN(set, ReadDataSets(options.data.train, options.data.fields, {}));
    if (set.rows.size() > static_cast<size_t>(arguments.n)) set.rows.resize(static_cast<size_t>(arguments.n));
  }
  CANDOR_ASSIGN(std::unique_ptr<Verifier> verifier, MakeVerifiers(options.reward));
  TrialReport report = TryVerifier(*verifier, set.rows, format);
  std::fputs(TrialTable(report).c_str(), stdout);
  std::puts(report.ok() ? "ok" : "NOT ok");
  return report.ok();
}

}  // namespace

int RunVerifier(int argc, const char* const* argv) {
  VerifierArguments arguments;
  arguments.verifier.name = "verifier";
  CommandLine app{"Tries a verifier on data rows.", "candor verifier"};
  CommandLine& test =
      app.AddSubcommand("test", "submit right and wrong answers of some rows; print labels, rewards, reasons and latencies");
  app.AddFooter(kVerifierExamples);
  test.AddFooter(kVerifierExamples);
  const Argument recipe = test.Add("RECIPE", &arguments.recipes, "recipe files, merged left to right, and overrides a.b=c");
  Argument kind =
      test.Add("--kind", &arguments.verifier.kind, "a built-in one: exact_match, accepted_set, f1, numeric, choice, math, python_tests");
  const Argument command = test.Add("--command", &arguments.verifier.command, "a program and its arguments").Values(-1).Excludes(recipe);
  const Argument url = test.Add("--url", &arguments.verifier.url, "an HTTP service").Excludes(recipe).Excludes(command);
  kind.Excludes(recipe).Excludes(url);
  test.Add("--allow-host", &arguments.verifier.allow_hosts, "a host of --url that may lie on a loopback or private address").Needs(url);
  test.Add("--tests-field", &arguments.verifier.tests_field, "the row's field with the tests of python_tests").ShowDefault();
  test.Add("--rows", &arguments.rows, "JSONL of rows (default: the recipe's training data)");
  test.Add("--n", &arguments.n, "how many rows").Positive().ShowDefault();
  test.Add("--timeout", &arguments.verifier.timeout_s, "seconds for one completion").Positive().ShowDefault();
  if (const auto code = app.Parse(argc, argv)) return *code;
  if (!recipe.Given() && !kind.Given() && !command.Given() && !url.Given()) {
    std::fprintf(stderr, "candor verifier test: name a recipe, or --kind, --command or --url; see candor verifier test --help\n");
    return static_cast<int>(ExitCode::kUsage);
  }
  if (!recipe.Given() && arguments.rows.empty()) {
    std::fprintf(stderr, "candor verifier test: --rows F.jsonl is needed without a recipe\n");
    return static_cast<int>(ExitCode::kUsage);
  }
  spdlog::set_level(spdlog::level::err);  // reasons are in the table
  Result<bool> ok = Try(arguments);
  if (!ok) return ReportFailure("verifier test", ok.error());
  return *ok ? 0 : static_cast<int>(ExitCode::kFailed);
}

}  // namespace candor::cli
