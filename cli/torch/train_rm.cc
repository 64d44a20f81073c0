// `candor train-rm MODEL DATA OUT`: fits the heads of a reward model to hidden states of a policy, from scored completions: rows of a file,
// or what the reward workers of a run have scored and still keep.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/progress.h"
#include "cli/role.h"
#include "cli/run_dir.h"
#include "cli/torch/ask_settings.h"
#include "cli/torch/commands.h"
#include "cli/torch/reward_trunk.h"
#include "core/channel_expression.h"
#include "core/clock.h"
#include "core/fs.h"
#include "core/rng.h"
#include "proto/messages.h"
#include "reward/reward_heads.h"
#include "reward/spool.h"

namespace candor::cli {

namespace {

namespace fs = std::filesystem;

struct TrainRmArguments {
  std::string model, data, out, recipe, channel = "accuracy";
  std::vector<std::string> overrides;
  HeadFitOptions fit;
  TrunkFitOptions trunk;
  double holdout = 0.2;
  bool quiet = false;
};

constexpr char kTrainRmExamples[] = R"(Rows, one JSON object per line:
  {"prompt": "2 + 2 =", "completion": "4", "score": 1.0}
or the folder of a run: every trace that its reward workers still keep, scored by --channel (an expression over the run's channels).
Heads are fitted to the hidden state behind a completion's last token. OUT is a copy of the policy with reward_heads.json; candor reward-model
serves it. MODEL itself is never changed; with --trunk-epochs the copy's weights are trained as well, by the squared error of the heads, which
then go on from where they were.

Examples:
  candor train-rm models/smollm2 scored.jsonl models/rm
  candor train-rm runs/cities runs/cities models/rm --channel "accuracy"
  candor train-rm models/smollm2 scored.jsonl models/rm --trunk-epochs 2 --trunk-lr 1e-5
  candor train-rm models/smollm2 scored.jsonl models/rm --heads 7 --recipe recipes/cities.toml)";

struct ScoredText {
  DataRow row;
  std::string completion;
  double score = 0.0;
};

Result<std::vector<ScoredText>> ReadScoredRows(const std::string& path, const FieldNames& fields) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Fail(ErrorCode::kNotFound, "cannot read the rows", path);
  std::vector<ScoredText> texts;
  int64_t number = 0;
  for (std::string line; std::getline(file, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("{}:{}", path, number);
    ScoredText text;
    CANDOR_ASSIGN(text.row, ParseRow(line, where, fields, {.completion = true}));
    const auto json = nlohmann::json::parse(line, nullptr, false);
    if (!json.contains("score") || !json["score"].is_number() || !std::isfinite(json["score"].get<double>()))
      return Fail(ErrorCode::kInvalidInput, "`score` must be a finite number", where, "write {\"prompt\", \"completion\", \"score\"}");
    text.completion = text.row.completion, text.score = json["score"].get<double>();
    texts.push_back(std::move(text));
  }
  return texts;
}

// Training groups only; a file that its worker deletes meanwhile is passed over.
Result<std::vector<ScoredText>> ReadScoredTraces(const std::string& run_dir, const ChannelExpression& channel) {
  CANDOR_ASSIGN(const Recipe recipe, LoadResolvedRecipe(run_dir));
  CANDOR_ASSIGN(const auto data, LoadRunData(recipe));
  std::vector<std::string> paths;
  std::error_code error;
  for (fs::recursive_directory_iterator it(run_dir + "/spool", error), end; !error && it != end; it.increment(error))
    if (it->path().extension() == ".group") paths.push_back(it->path().string());
  std::sort(paths.begin(), paths.end());
  std::vector<ScoredText> texts;
  for (const std::string& path : paths) {
    const auto payload = ReadSpooledFile(path);
    if (!payload && payload.error().code == ErrorCode::kNotFound) continue;
    if (!payload) return Fail(payload.error());
    CANDOR_ASSIGN(const ScoredGroup group, DecodePayload(*payload));
    const auto set = data.find("train");
    if (group.prompt.dataset != "train" || set == data.end() || group.prompt.row >= set->second.rows.size()) continue;
    for (const ScoredTrace& trace : group.traces_G)
      if (const auto score = channel.Evaluate(trace.channels); score && !trace.trace.greedy)
        texts.push_back({set->second.rows[group.prompt.row], trace.trace.text, *score});
  }
  return texts;
}

Result<std::vector<ScoredText>> ReadScored(const TrainRmArguments& a, const Recipe& recipe) {
  if (!FileExists(RunDir{a.data}.Resolved())) return ReadScoredRows(a.data, recipe.data.fields);
  CANDOR_ASSIGN(const ChannelExpression channel, ChannelExpression::Parse(a.channel));
  return ReadScoredTraces(a.data, channel);
}

class TrainRmProgress {
 public:
  explicit TrainRmProgress(bool quiet) : quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1) {}
  void Show(const char* what, const std::string& more, int64_t done, int64_t total) {
    const double now = SteadySeconds();
    if (done == 0 || what != what_) what_ = what, start_s_ = now;
    if (quiet_ || (done < total && now - shown_s_ < (terminal_ ? 0.5 : 10))) return;
    shown_s_ = now;
    const double rate = static_cast<double>(done) / std::max(1e-3, now - start_s_);
    const std::string left = done < total && done > 0 ? "  about " + Duration(static_cast<double>(total - done) / rate) + " left" : "";
    std::fprintf(stderr, "%s%s %ld/%ld%s  %.0f/s%s%s", terminal_ ? "\r\033[K" : "", what, static_cast<long>(done), static_cast<long>(total),
                 more.c_str(), rate, left.c_str(), terminal_ && done < total ? "" : "\n");
  }

 private:
  bool quiet_, terminal_;
  const char* what_ = "";
  double start_s_ = 0, shown_s_ = 0;
};

struct TextSet {
  std::vector<std::vector<int32_t>> ids;
  std::vector<double> scores;
};
// A prompt's completions stay together: held-out prompts have not been seen.
struct SplitTexts {
  TextSet train, held_out;
};

Result<SplitTexts> EncodeTexts(const TrainRmArguments& a, const RewardTrunk& trunk, const std::vector<ScoredText>& texts) {
  SplitTexts split;
  for (const ScoredText& text : texts) {
    const std::string hash = HashHex(text.row.prompt + text.row.messages_json);
    const bool held = RandomUnit(a.fit.seed, RngStream::kSplit, std::stoull(hash.substr(0, 15), nullptr, 16)) < a.holdout;
    TextSet& to = held ? split.held_out : split.train;
    CANDOR_ASSIGN(std::vector<int32_t> ids, trunk.Encode(text.row, text.completion));
    to.ids.push_back(std::move(ids)), to.scores.push_back(text.score);
  }
  return split;
}

Result<HeadRows> ReadStates(const RewardTrunk& trunk, const TextSet& texts, TrainRmProgress& progress) {
  constexpr size_t kTextRowsPerPass = 4096;
  HeadRows rows;
  rows.width = trunk.width(), rows.scores = texts.scores;
  for (size_t next = 0; next < texts.ids.size();) {
    std::vector<std::vector<int32_t>> ids;
    for (size_t count = 0; next < texts.ids.size() && count < kTextRowsPerPass; ++next)
      ids.push_back(texts.ids[next]), count += texts.ids[next].size();
    CANDOR_TRY(trunk.Read(ids, rows.features));
    progress.Show("hidden states", "", static_cast<int64_t>(next), static_cast<int64_t>(texts.ids.size()));
  }
  return rows;
}

// Whole or not there.
Status WriteRewardModel(const std::string& out, const std::string& model_folder, Recipe& settings, const RewardHeads& heads,
                        const RewardTrunk* trained) {
  const std::string part = out + ".part";
  std::error_code error;
  fs::remove_all(part, error);
  CANDOR_TRY(MakeFolders(part));
  fs::directory_iterator entry(model_folder, error), end;
  for (; !error && entry != end; entry.increment(error)) {
    std::error_code failed;
    if (entry->is_regular_file(failed)) fs::copy_file(entry->path(), fs::path(part) / entry->path().filename(), failed);
    if (failed) return Fail(ErrorCode::kIo, "cannot copy the policy: " + failed.message(), entry->path().string());
  }
  if (error) return Fail(ErrorCode::kIo, "cannot read the policy: " + error.message(), model_folder);
  if (trained) CANDOR_TRY(trained->Save(part));
  CANDOR_TRY(WriteFileAtomic(part + "/" + kRewardHeadsFile, ToJson(heads)));
  CANDOR_TRY(WriteFileAtomic(part + "/" + kRewardSettingsFile, ResolvedText(settings)));
  fs::rename(part, out, error);
  if (error) return Fail(ErrorCode::kIo, "cannot name the finished folder: " + error.message(), out);
  return {};
}

void ShowFigures(const RewardHeads& heads, const HeadRows& train, const HeadRows& held_out, const std::optional<HeadFigures>& frozen) {
  if (held_out.size() < 2) return;
  const HeadFigures seen = MeasureHeads(heads, train), unseen = MeasureHeads(heads, held_out);
  std::printf("held-out prompts (%zu completions): error %.3f (%.3f on the training rows, %.3f for always saying the mean)",
              held_out.size(), unseen.error, seen.error, unseen.constant_error);
  if (unseen.ordered) std::printf(", pairs in the right order %.3f", *unseen.ordered);
  std::printf("\n");
  if (frozen) {
    std::printf("with the trunk as it was: error %.3f", frozen->error);
    if (frozen->ordered) std::printf(", pairs in the right order %.3f", *frozen->ordered);
    std::printf("%s\n", frozen->error <= unseen.error ? "; training it has not helped on prompts that it has not seen" : "");
  }
  if (unseen.error >= unseen.constant_error)
    std::printf("on prompts that it has not seen it is no better than a constant: do not train on it\n");
}

struct FittedModel {
  RewardHeads heads;
  HeadRows train, held_out;
  std::optional<HeadFigures> frozen;  // of the heads on the trunk as it was, where it was trained
};

// Heads; with --trunk-epochs the trunk by their squared error, then the heads on its new states.
Result<FittedModel> Fit(const TrainRmArguments& a, RewardTrunk& trunk, const SplitTexts& texts, TrainRmProgress& progress) {
  const auto fit = [&](FittedModel& fitted) -> Status {
    CANDOR_ASSIGN(fitted.train, ReadStates(trunk, texts.train, progress));
    CANDOR_ASSIGN(fitted.held_out, ReadStates(trunk, texts.held_out, progress));
    HeadFitOptions options = a.fit;
    const RewardHeads start = fitted.heads;
    if (!start.heads.empty()) options.start = &start;  // the trunk was trained for these
    CANDOR_ASSIGN(fitted.heads, FitHeads(fitted.train, options, [&](int64_t step, double loss) {
                    progress.Show("heads", fmt::format("  nll {:.3f}", loss), step, a.fit.steps);
                  }));
    return {};
  };
  FittedModel fitted;
  CANDOR_TRY(fit(fitted));
  if (a.trunk.epochs == 0) return fitted;
  const std::optional<HeadFigures> frozen =
      fitted.held_out.size() > 1 ? std::optional(MeasureHeads(fitted.heads, fitted.held_out)) : std::nullopt;
  CANDOR_TRY(trunk.Train(texts.train.ids, texts.train.scores, fitted.heads, a.trunk, [&](int64_t step, int64_t total, double loss) {
    progress.Show("trunk", fmt::format("  loss {:.3f}", loss), step, total);
  }));
  CANDOR_TRY(fit(fitted));
  fitted.frozen = frozen;
  return fitted;
}

Status Train(const TrainRmArguments& a) {
  const bool of_run = FileExists(RunDir{a.data}.Resolved());
  CANDOR_ASSIGN(Recipe recipe, AskSettingsOf(of_run ? a.data : a.model, a.recipe, a.overrides));
  CANDOR_ASSIGN(const std::string folder, ModelFolderOf(a.model));
  std::error_code error;
  if (fs::exists(a.out, error)) return Fail(ErrorCode::kInvalidInput, "the folder is there already", a.out, "take another name");
  CANDOR_TRY(PrepareOutput(a.out));
  CANDOR_ASSIGN(const std::vector<ScoredText> texts, ReadScored(a, recipe));
  if (texts.empty())
    return Fail(ErrorCode::kInvalidInput,
                of_run ? fmt::format("the run keeps no trace with the channel `{}`", a.channel) : "there are no rows", a.data,
                of_run ? "spools shrink as checkpoints cover them: use a run that is under way, or a JSONL file" : "");
  CANDOR_ASSIGN(RewardTrunk trunk, RewardTrunk::Load(folder, recipe));
  TrainRmProgress progress(a.quiet);
  CANDOR_ASSIGN(const SplitTexts split, EncodeTexts(a, trunk, texts));
  if (split.train.ids.empty())
    return Fail(ErrorCode::kInvalidInput, "every prompt was held out: there are too few", a.data, "add prompts, or --holdout 0");
  CANDOR_ASSIGN(const FittedModel fitted, Fit(a, trunk, split, progress));
  CANDOR_TRY(WriteRewardModel(a.out, folder, recipe, fitted.heads, a.trunk.epochs > 0 ? &trunk : nullptr));
  std::printf("%s: %zu heads on %zu features, from %zu completions\n", a.out.c_str(), fitted.heads.heads.size(), trunk.width(),
              fitted.train.size());
  ShowFigures(fitted.heads, fitted.train, fitted.held_out, fitted.frozen);
  return {};
}

}  // namespace

int RunTrainRm(int argc, const char* const* argv) {
  TrainRmArguments a;
  CommandLine app{"Fits the heads of a reward model, each a mean and a standard deviation, to a policy's hidden states.",
                  "candor train-rm"};
  app.AddFooter(kTrainRmExamples);
  app.Add("MODEL", &a.model, "the trunk: a Hugging Face folder, or the folder of a run").Required();
  app.Add("DATA", &a.data, "JSONL rows {prompt, completion, score}, or the folder of a run").Required();
  app.Add("OUT", &a.out, "the new folder").Required();
  app.Add("SETTINGS", &a.overrides, "key=value, as in a recipe");
  app.Add("--recipe", &a.recipe, "take the format from this recipe (default: the run's own)");
  app.Add("--channel", &a.channel, "of a run: what a trace's score is").ShowDefault();
  app.Add("--heads", &a.fit.heads, "heads").Range(1, 64).ShowDefault();
  app.Add("--steps", &a.fit.steps, "steps of the fit, each over all rows").Range(1, 1000000).ShowDefault();
  app.Add("--lr", &a.fit.lr, "learning rate of the fit, falling to 0").Range(1e-9, 10.0).ShowDefault();
  app.Add("--weight-decay", &a.fit.weight_decay, "pull of the weights to 0").Range(0.0, 1e6).ShowDefault();
  app.Add("--seed", &a.fit.seed, "of starts, resamples and held-out prompts");
  app.Add("--holdout", &a.holdout, "share of the prompts that are kept out to measure on").Range(0.0, 0.9).ShowDefault();
  app.Add("--trunk-epochs", &a.trunk.epochs, "passes over the rows that train the trunk too; 0: it stays as it is")
      .Range(0, 1000)
      .ShowDefault();
  app.Add("--trunk-lr", &a.trunk.lr, "learning rate of the trunk, falling to 0").Range(1e-9, 1.0).ShowDefault();
  app.Add("--trunk-rows", &a.trunk.rows_per_step, "rows of one step of the trunk").Range(1, 65536).ShowDefault();
  app.AddFlag("--quiet", &a.quiet, "no progress");
  if (const auto code = app.Parse(argc, argv)) return *code;
  a.trunk.seed = a.fit.seed;
  return ExitWith("train-rm", Train(a));
}

}  // namespace candor::cli
