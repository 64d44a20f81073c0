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
  double holdout = 0.2;
  bool quiet = false;
};

constexpr char kTrainRmExamples[] = R"(Rows, one JSON object per line:
  {"prompt": "2 + 2 =", "completion": "4", "score": 1.0}
or the folder of a run: every trace that its reward workers still keep, scored by --channel (an expression over the run's channels).
The policy itself is not changed: heads are fitted to the hidden state behind a completion's last token. OUT is a copy of the policy with
reward_heads.json; candor reward-model serves it.

Examples:
  candor train-rm models/smollm2 scored.jsonl models/rm
  candor train-rm runs/cities runs/cities models/rm --channel "accuracy"
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

struct SplitRows {
  HeadRows train, held_out;
};

// A prompt's completions stay together: held-out prompts have not been seen.
Result<SplitRows> ReadStates(const TrainRmArguments& a, const RewardTrunk& trunk, const std::vector<ScoredText>& texts,
                             TrainRmProgress& progress) {
  constexpr size_t kTextRowsPerPass = 4096;
  SplitRows split;
  split.train.width = split.held_out.width = trunk.width();
  for (size_t first = 0, next = 0; first < texts.size(); first = next) {
    std::vector<std::vector<int32_t>> ids;
    for (size_t rows = 0; next < texts.size() && rows < kTextRowsPerPass; ++next) {
      CANDOR_ASSIGN(std::vector<int32_t> one, trunk.Encode(texts[next].row, texts[next].completion));
      rows += one.size();
      ids.push_back(std::move(one));
    }
    std::vector<float> features;
    CANDOR_TRY(trunk.Read(ids, features));
    for (size_t i = first; i < next; ++i) {
      const std::string hash = HashHex(texts[i].row.prompt + texts[i].row.messages_json);
      const bool held = RandomUnit(a.fit.seed, RngStream::kSplit, std::stoull(hash.substr(0, 15), nullptr, 16)) < a.holdout;
      HeadRows& to = held ? split.held_out : split.train;
      const auto row = features.begin() + static_cast<std::ptrdiff_t>((i - first) * trunk.width());
      to.features.insert(to.features.end(), row, row + static_cast<std::ptrdiff_t>(trunk.width()));
      to.scores.push_back(texts[i].score);
    }
    progress.Show("hidden states", "", static_cast<int64_t>(next), static_cast<int64_t>(texts.size()));
  }
  return split;
}

// Whole or not there.
Status WriteRewardModel(const std::string& out, const std::string& model_folder, Recipe& settings, const RewardHeads& heads) {
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
  CANDOR_TRY(WriteFileAtomic(part + "/" + kRewardHeadsFile, ToJson(heads)));
  CANDOR_TRY(WriteFileAtomic(part + "/" + kRewardSettingsFile, ResolvedText(settings)));
  fs::rename(part, out, error);
  if (error) return Fail(ErrorCode::kIo, "cannot name the finished folder: " + error.message(), out);
  return {};
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
  CANDOR_ASSIGN(const RewardTrunk trunk, RewardTrunk::Load(folder, recipe));
  TrainRmProgress progress(a.quiet);
  CANDOR_ASSIGN(const SplitRows rows, ReadStates(a, trunk, texts, progress));
  if (rows.train.size() == 0)
    return Fail(ErrorCode::kInvalidInput, "every prompt was held out: there are too few", a.data, "add prompts, or --holdout 0");
  CANDOR_ASSIGN(const RewardHeads heads, FitHeads(rows.train, a.fit, [&](int64_t step, double loss) {
                  progress.Show("heads", fmt::format("  nll {:.3f}", loss), step, a.fit.steps);
                }));
  CANDOR_TRY(WriteRewardModel(a.out, folder, recipe, heads));
  std::printf("%s: %zu heads on %zu features, from %zu completions\n", a.out.c_str(), heads.heads.size(), trunk.width(), rows.train.size());
  if (rows.held_out.size() > 1) {
    const HeadFigures seen = MeasureHeads(heads, rows.train), unseen = MeasureHeads(heads, rows.held_out);
    std::printf("held-out prompts (%zu completions): error %.3f (%.3f on the training rows, %.3f for always saying the mean)",
                rows.held_out.size(), unseen.error, seen.error, unseen.constant_error);
    if (unseen.ordered) std::printf(", pairs in the right order %.3f", *unseen.ordered);
    std::printf("\n");
    if (unseen.error >= unseen.constant_error)
      std::printf("on prompts that it has not seen it is no better than a constant: do not train on it\n");
  }
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
  app.AddFlag("--quiet", &a.quiet, "no progress");
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("train-rm", Train(a));
}

}  // namespace candor::cli
