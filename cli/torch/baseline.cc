// `candor baseline MODEL`: answers every prompt of a data set some times with a reference policy, grades the answers as the recipe does,
// and stores the scores beside each row: the baseline of contrastive rewards (arXiv 2403.07708).
#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

#include "cli/command_line.h"
#include "cli/progress.h"
#include "cli/run_dir.h"
#include "cli/torch/ask_settings.h"
#include "cli/torch/commands.h"
#include "core/clock.h"
#include "core/fs.h"
#include "eval/baseline_file.h"

namespace candor::cli {

namespace {

struct BaselineArguments {
  std::string model, recipe, data, out, field;
  std::vector<std::string> overrides;
  int64_t samples = 4, limit = 0;
  double temperature = -1;
  bool quiet = false;
};

constexpr char kBaselineExamples[] =
    R"(Writes the rows with {"baseline_scores": [1.0, 0.0, ..]}: 1 where an answer was right, 0 where it was wrong or broke the format; answers
whose verifier failed are left out. Stopped half-way it goes on where it was when it is called again. Train on the new file with
  [reward]      baseline_field = "baseline_scores"
  [[objective]] advantage = "contrastive_baseline"         (works with trainer.group_size = 1)

Examples:
  candor baseline runs/cities --out data/cities/baseline.jsonl          the training rows of the run's recipe, answered by its policy
  candor baseline MODEL --recipe recipes/cities.toml --data rows.jsonl --out rows-baseline.jsonl --samples 8
  candor baseline MODEL --data rows.jsonl --out b.jsonl format.confidence=verbal reward.verifier=numeric)";

Result<std::string> DataOf(const BaselineArguments& a, const Recipe& recipe) {
  if (!a.data.empty()) return a.data;
  if (recipe.data.train.size() == 1) return recipe.data.train[0].path;
  const std::string what = recipe.data.train.empty() ? "there are no rows to answer"
                                                     : fmt::format("the recipe has {} files of training rows", recipe.data.train.size());
  return Fail(ErrorCode::kInvalidInput, what, "--data", "name a JSONL file: --data rows.jsonl");
}

// How the scores come about, in a line that tells two ways apart.
std::string MadeBy(const BaselineArguments& a, const std::string& folder, const AskOptions& options, Recipe recipe) {
  recipe.objectives.clear(), recipe.evals.clear(), recipe.data.train.clear();
  const SamplingOptions& s = options.sampling;
  return fmt::format("{} samples={} temperature={:g} seed={} settings={}", folder, a.samples, s.temperature, options.seed,
                     HashHex(ResolvedText(recipe) + a.model).substr(0, 8));
}

class BaselineProgress {
 public:
  explicit BaselineProgress(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1) {}
  void Show(const AskProgress& progress, size_t first) {
    const double now = SteadySeconds();
    const bool last = progress.done == progress.total;
    if (quiet_ || (!last && !terminal_ && now - shown_s_ < 10)) return;
    shown_s_ = now;
    const auto fresh = progress.done - static_cast<int64_t>(first);
    const double left = fresh > 0 ? (now - start_s_) / static_cast<double>(fresh) * static_cast<double>(progress.total - progress.done) : 0;
    std::fprintf(stderr, "%sbaseline %ld/%ld rows  %.0f tok/s%s%s", terminal_ ? "\r\033[K" : "", static_cast<long>(progress.done),
                 static_cast<long>(progress.total), progress.tokens_per_second,
                 last || fresh <= 0 ? "" : ("  about " + Duration(left) + " left").c_str(), terminal_ && !last ? "" : "\n");
  }

 private:
  bool quiet_, terminal_;
  double start_s_ = SteadySeconds(), shown_s_ = start_s_;
};

std::vector<double> ScoresOf(const std::vector<AnswerRow>& answers) {
  std::vector<double> scores;
  for (const AnswerRow& answer : answers)
    if (answer.label != Label::kUnknown) scores.push_back(answer.label == Label::kCorrect && answer.format_error.empty() ? 1.0 : 0.0);
  return scores;
}

Status Run(const BaselineArguments& a) {
  CANDOR_ASSIGN(Recipe recipe, AskSettingsOf(a.model, a.recipe, a.overrides));
  CANDOR_ASSIGN(const std::string folder, ModelFolderOf(a.model));
  CANDOR_ASSIGN(const std::string data, DataOf(a, recipe));
  AskSet set{"train", "train", {}, a.samples};
  set.greedy = false;
  CANDOR_ASSIGN(set.rows, ReadDataSet(data, recipe.data.fields, {.answer = true}, a.limit));
  AskOptions options = AskOptionsOf(recipe);
  if (a.temperature >= 0) options.sampling.temperature = a.temperature;
  BaselineSettings settings{!a.field.empty()                        ? a.field
                            : !recipe.reward.baseline_field.empty() ? recipe.reward.baseline_field
                                                                    : "baseline_scores",
                            MadeBy(a, folder, options, recipe)};
  CANDOR_TRY(PrepareOutput(a.out + ".part"));
  CANDOR_ASSIGN(BaselineFile file, BaselineFile::Open(a.out, settings, set.rows));
  if (file.done() > 0 && !a.quiet) std::fprintf(stderr, "going on behind %zu rows that are in %s.part\n", file.done(), a.out.c_str());
  set.first_row = static_cast<int64_t>(file.done());
  const size_t first = file.done();
  CANDOR_ASSIGN(const std::unique_ptr<Asker> asker, Asker::Load(folder, options));
  BaselineProgress progress(a.quiet);
  CANDOR_TRY(asker->AskEach(
      set, [&](const AskProgress& now) { progress.Show(now, first); },
      [&](size_t row, std::vector<AnswerRow> answers) { return file.Append(set.rows.rows[row], ScoresOf(answers)); }));
  CANDOR_TRY(file.Finish());
  std::printf("%s: %zu rows, %zu answers with a known label, mean score %.3f", a.out.c_str(), file.done(), file.scores(),
              file.mean_score());
  if (file.rows_without_scores() > 0) std::printf("; %zu rows have none and will train nothing", file.rows_without_scores());
  std::printf("\ntrain on it with reward.baseline_field = \"%s\" and advantage = \"contrastive_baseline\"\n", settings.field.c_str());
  return {};
}

}  // namespace

int RunBaseline(int argc, const char* const* argv) {
  BaselineArguments a;
  CommandLine app{"Answers every prompt of a data set with a reference policy and stores the answers' scores beside its rows.",
                  "candor baseline"};
  app.AddFooter(kBaselineExamples);
  app.Add("MODEL", &a.model, "Hugging Face folder, or the folder of a run").Required();
  app.Add("SETTINGS", &a.overrides, "key=value, as in a recipe");
  app.Add("--recipe", &a.recipe, "take format, verifiers, sampling and training rows from this recipe (default: the run's own)");
  app.Add("--data", &a.data, "JSONL rows {prompt, answer} (default: the recipe's training rows)");
  app.Add("--out", &a.out, "the new file").Required();
  app.Add("--samples", &a.samples, "answers per row").Range(1, 65536).ShowDefault();
  app.Add("--temperature", &a.temperature, "of the answers (default: as the recipe says, else 1)").Range(0.0, 10.0);
  app.Add("--field", &a.field, "name of the list of scores (default: the recipe's reward.baseline_field, else baseline_scores)");
  app.Add("--limit", &a.limit, "answer only the first N rows").Positive();
  app.AddFlag("--quiet", &a.quiet, "no progress");
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("baseline", Run(a));
}

}  // namespace candor::cli
