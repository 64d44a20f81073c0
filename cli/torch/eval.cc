// `candor eval MODEL [DATA]`: asks a model a data set (or every [[eval]] of a recipe) and reports accuracy and calibration with intervals,
// greedy and sampled answers apart.
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <iterator>
#include <utility>

#include "cli/command_line.h"
#include "cli/progress.h"
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "cli/torch/ask_settings.h"
#include "cli/torch/commands.h"
#include "eval/tables.h"

namespace candor::cli {

namespace {

struct EvalArguments {
  std::string model, data, name, recipe, out;
  std::vector<std::string> overrides;
  int64_t limit = 0, samples = -1;
  double temperature = -1;
  bool json = false, quiet = false;
};

constexpr char kEvalExamples[] = R"(Examples:
  candor eval runs/cities data/cities/test.jsonl            a run's trained policy on one set
  candor eval MODEL rows.jsonl format.confidence=verbal     any model; settings as in a recipe
  candor eval runs/cities                                   every [[eval]] of the run's recipe
  candor eval MODEL rows.jsonl --samples 4 --out answers.jsonl --json)";

Result<std::vector<AskSet>> SetsOf(const EvalArguments& arguments, const Recipe& recipe) {
  std::vector<AskSet> sets;
  auto add = [&](const std::string& name, const std::string& role, const std::string& path, int64_t rows, int64_t samples) -> Status {
    AskSet set{name, role, {}, samples};
    CANDOR_ASSIGN(set.rows, ReadDataSet(path, recipe.data.fields, {.answer = true}, rows));
    if (set.rows.rows.empty()) return Fail(ErrorCode::kInvalidInput, "the file holds no rows", path);
    sets.push_back(std::move(set));
    return {};
  };
  if (!arguments.data.empty()) {
    CANDOR_TRY(add(arguments.name.empty() ? std::filesystem::path(arguments.data).stem().string() : arguments.name, "held_out",
                   arguments.data, arguments.limit, std::max<int64_t>(0, arguments.samples)));
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
  CANDOR_ASSIGN(Recipe recipe, AskSettingsOf(arguments.model, arguments.recipe, arguments.overrides));
  CANDOR_ASSIGN(std::vector<AskSet> sets, SetsOf(arguments, recipe));
  CANDOR_ASSIGN(std::string folder, ModelFolderOf(arguments.model));
  if (!arguments.out.empty()) CANDOR_TRY(PrepareOutput(arguments.out));
  AskOptions options = AskOptionsOf(recipe);
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
  CommandLine app{
      "Asks a model questions with known answers and reports accuracy and calibration with intervals, greedy and sampled answers apart.",
      "candor eval"};
  app.Add("MODEL", &arguments.model, "a Hugging Face folder or the folder of a run").Required();
  app.Add("DATA", &arguments.data, "JSONL rows {prompt, answer}; left out: every [[eval]] of the recipe");
  app.Add("--name", &arguments.name, "what tables call DATA (default: its file name)");
  app.Add("SETTINGS", &arguments.overrides, "key=value, such as format.confidence=slot");
  app.Add("--recipe", &arguments.recipe, "take format, verifiers and sampling from this recipe (default: the run's own)");
  app.Add("--out", &arguments.out, "write the answers here, one JSON line each (rows for candor calibration)");
  app.Add("--limit", &arguments.limit, "ask only the first N rows").Positive();
  app.Add("--samples", &arguments.samples, "sampled answers per row besides the greedy one (default: as the recipe says, else none)")
      .Range(0, 65536);
  app.Add("--temperature", &arguments.temperature, "of the sampled answers (default 1)").Range(0.0, 10.0);
  app.AddFlag("--json", &arguments.json, "print one JSON object");
  app.AddFlag("--quiet", &arguments.quiet, "no progress");
  app.AddFooter(kEvalExamples);
  if (const auto code = app.Parse(argc, argv)) return *code;
  if (arguments.data.find('=') != std::string::npos)
    arguments.overrides.insert(arguments.overrides.begin(), std::exchange(arguments.data, ""));
  return ExitWith("eval", Run(arguments));
}

}  // namespace candor::cli
