// `candor eval MODEL [DATA]`: asks a model a data set (or every [[eval]] of a recipe) and reports accuracy and calibration with intervals,
// greedy and sampled answers apart.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <iterator>
#include <utility>

#include "cli/progress.h"
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "cli/torch/commands.h"
#include "core/fs.h"
#include "eval/model/asker.h"
#include "eval/tables.h"

namespace candor::cli {

namespace {

struct EvalArguments {
  std::string model, data, recipe, out;
  std::vector<std::string> overrides;
  int64_t limit = 0, samples = -1;
  double temperature = -1;
  bool json = false, quiet = false;
};

constexpr char kExamples[] = R"(Examples:
  candor eval runs/cities data/cities/test.jsonl            a run's trained policy on one set
  candor eval MODEL rows.jsonl format.confidence=verbal     any model; settings as in a recipe
  candor eval runs/cities                                   every [[eval]] of the run's recipe
  candor eval MODEL rows.jsonl --samples 4 --out answers.jsonl --json)";

// Settings: the named recipe, else the run's own, else the defaults with overrides.
Result<Recipe> SettingsOf(const EvalArguments& arguments) {
  if (!arguments.recipe.empty()) return LoadRecipe({arguments.recipe}, arguments.overrides);
  if (FileExists(arguments.model + "/resolved.toml")) return LoadRecipe({arguments.model + "/resolved.toml"}, arguments.overrides);
  RecipeSource source;
  CANDOR_TRY(
      source.AddText("name = 'eval'\nmodel = 'x'\nstages = []\n[[verifier]]\nname = 'exact'\nkind = 'exact_match'\n[format]\ntags = "
                     "['answer', 'confidence']\n",
                     "the defaults"));
  for (const std::string& one : arguments.overrides) CANDOR_TRY(source.AddOverride(one));
  Recipe recipe;
  OptionTable table;
  Declare(table, recipe);
  CANDOR_TRY(source.Bind(table));
  return recipe;
}

Result<std::vector<AskSet>> SetsOf(const EvalArguments& arguments, const Recipe& recipe) {
  std::vector<AskSet> sets;
  auto add = [&](const std::string& name, const std::string& role, const std::string& path, int64_t rows, int64_t samples) -> Status {
    AskSet set{name, role, {}, samples};
    CANDOR_ASSIGN(set.rows, ReadDataSet(path, recipe.data.fields, {.answer = true}, rows));
    if (set.rows.rows.empty()) return Fail(ErrorCode::kInvalidInput, "holds no rows", path);
    sets.push_back(std::move(set));
    return {};
  };
  if (!arguments.data.empty()) {
    CANDOR_TRY(add(std::filesystem::path(arguments.data).stem().string(), "held_out", arguments.data, arguments.limit,
                   std::max<int64_t>(0, arguments.samples)));
  } else {
    for (const EvalSetOptions& eval : recipe.evals)
      CANDOR_TRY(add(eval.name, eval.role, eval.path, arguments.limit > 0 ? arguments.limit : eval.n,
                     arguments.samples >= 0 ? arguments.samples : eval.samples));
    if (sets.empty())
      return Fail(ErrorCode::kInvalidInput, "there is nothing to ask", "", "name a data file, or a recipe with [[eval]] tables");
  }
  return sets;
}

void ShowProgress(const std::string& name, const AskProgress& progress, bool terminal) {
  if (!terminal && progress.done != progress.total) return;
  std::fprintf(stderr, "%s%-12s %5ld/%ld rows  %.0f tok/s%s", terminal ? "\r\033[K" : "", name.c_str(), static_cast<long>(progress.done),
               static_cast<long>(progress.total), progress.tokens_per_second, terminal && progress.done != progress.total ? "" : "\n");
}

Status Run(const EvalArguments& arguments) {
  CANDOR_ASSIGN(Recipe recipe, SettingsOf(arguments));
  CANDOR_ASSIGN(std::vector<AskSet> sets, SetsOf(arguments, recipe));
  CANDOR_ASSIGN(std::string folder, ModelFolderOf(arguments.model));
  AskOptions options{recipe.rollout.engine,
                     recipe.rollout.sampling,
                     recipe.rollout.stop,
                     recipe.format,
                     recipe.reward,
                     recipe.reward.signal,
                     0,
                     static_cast<uint64_t>(recipe.run.seed)};
  if (arguments.temperature >= 0) options.sampling.temperature = arguments.temperature;
  CANDOR_ASSIGN(std::unique_ptr<Asker> asker, Asker::Load(folder, options));
  const bool terminal = ::isatty(STDERR_FILENO) == 1;
  std::vector<AnswerRow> all;
  for (const AskSet& set : sets) {
    CANDOR_ASSIGN(std::vector<AnswerRow> answers, asker->Ask(set, [&](const AskProgress& progress) {
      if (!arguments.quiet) ShowProgress(set.name, progress, terminal);
    }));
    all.insert(all.end(), std::make_move_iterator(answers.begin()), std::make_move_iterator(answers.end()));
  }
  if (!arguments.out.empty()) CANDOR_TRY(WriteAnswers(arguments.out, all));
  std::printf("%s", arguments.json ? AnswersJson(all).c_str() : AnswersText(all).c_str());
  return {};
}

}  // namespace

int RunEval(int argc, const char* const* argv) {
  EvalArguments arguments;
  CLI::App app{
      "Asks a model questions with known answers and reports accuracy and calibration with intervals, greedy and sampled answers apart.",
      "candor eval"};
  app.add_option("model", arguments.model, "a Hugging Face folder or the folder of a run")->required();
  app.add_option("data", arguments.data, "JSONL rows {prompt, answer}; left out: every [[eval]] of the recipe");
  app.add_option("overrides", arguments.overrides, "settings, such as format.confidence=slot");
  app.add_option("--recipe", arguments.recipe, "take format, verifiers and sampling from this recipe (default: the run's own)");
  app.add_option("--out", arguments.out, "write the answers here, one JSON line each (rows for candor calibration)");
  app.add_option("--limit", arguments.limit, "ask only the first N rows");
  app.add_option("--samples", arguments.samples, "sampled answers per row besides the greedy one");
  app.add_option("--temperature", arguments.temperature, "of the sampled answers");
  app.add_flag("--json", arguments.json, "print one JSON object");
  app.add_flag("--quiet", arguments.quiet, "no progress");
  app.footer(kExamples);
  CLI11_PARSE(app, argc, argv);
  if (arguments.data.find('=') != std::string::npos)
    arguments.overrides.insert(arguments.overrides.begin(), std::exchange(arguments.data, ""));
  if (Status status = Run(arguments); !status) {
    std::fprintf(stderr, "candor eval: %s\n", status.error().Message().c_str());
    return static_cast<int>(ExitCodeOf(status.error().code));
  }
  return 0;
}

}  // namespace candor::cli
