#include "cli/stages.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/placement.h"
#include "cli/stop_signals.h"
#include "cli/supervisor.h"
#include "core/fs.h"
#include "core/launch.h"
#include "core/rng.h"
#include "text/rows.h"

namespace candor::cli {

namespace {

using nlohmann::json;

// What a stage works on and where its result goes.
struct StageJob {
  const Recipe& recipe;
  std::string model;        // folder it starts from
  std::string folder;       // its place in the cache
  std::string recipe_file;  // the recipe as the children read it
  std::string unfinished;   // in the run's folder: what a stop leaves of it, and where the next try goes on
  bool quiet;
};

// Of the files in a folder; folders below it (a repository's .git, onnx/) hold nothing that is read.
Result<std::string> FolderHash(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error, ignored;
  for (const auto& entry : std::filesystem::directory_iterator(folder, error))
    if (!entry.is_directory(ignored)) files.push_back(entry.path().string());
  if (error) return Fail(ErrorCode::kNotFound, "there is no such folder", folder, "see [prepare], or set `model`");
  std::sort(files.begin(), files.end());
  std::string all;
  for (const std::string& file : files) {
    CANDOR_ASSIGN(std::string hash, HashFileHex(file));
    all += std::filesystem::path(file).filename().string() + hash;
  }
  return HashHex(all);
}

// A JSONL file, or a folder of some.
Result<std::string> RowsHash(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_directory(path, ignored) ? FolderHash(path) : HashFileHex(path);
}

const std::string& WarmUpRows(const Recipe& recipe) {
  return recipe.warm_up.rows.empty() ? recipe.data.train.front().path : recipe.warm_up.rows;
}

}  // namespace

Result<std::string> StageHash(const std::string& stage, const Recipe& recipe, const std::string& model, const std::string& rows_before) {
  CANDOR_ASSIGN(std::string inputs, FolderHash(model));
  Recipe part;  // the settings that matter to stages; everything else at its default
  part.run.name = "stage", part.run.model = "model", part.run.device = recipe.run.device, part.run.dtype = recipe.run.dtype,
  part.run.seed = recipe.run.seed;
  part.self_answers = recipe.self_answers, part.sft = recipe.sft, part.format = recipe.format;
  if (stage != "warm_up")
    part.format.confidence = "verbal", part.format.slot_high.clear(), part.format.slot_low.clear();  // all arms share these stages
  if (stage == "warm_up") {
    // it asks as an evaluation does
    part.warm_up = recipe.warm_up, part.reward = recipe.reward, part.data = recipe.data;
    part.rollout.sampling = recipe.rollout.sampling, part.rollout.stop = recipe.rollout.stop;
  }
  inputs += stage + ResolvedText(part) + rows_before;
  std::vector<std::string> rows;
  if (stage == "self_answers") rows = {recipe.self_answers.rows, recipe.self_answers.few_shot};
  if (stage == "warm_up") rows = {WarmUpRows(recipe)};
  for (const std::string& path : rows) {
    if (path.empty()) continue;
    CANDOR_ASSIGN(const std::string hash, RowsHash(path));
    inputs += hash;
  }
  return HashHex(inputs).substr(0, 12);
}

namespace {

// candor-torch with these arguments; it writes below `folder`. Being told to end is passed on, and the child has until its own end.
Status RunTorch(const Recipe& recipe, const std::string& folder, const std::vector<std::string>& arguments, const std::string& output,
                const std::string& what) {
  CANDOR_ASSIGN(std::vector<std::string> command, StageProgram(recipe, folder));
  command.insert(command.end(), arguments.begin(), arguments.end());
  const CatchStopSignals signals;
  CANDOR_ASSIGN(int code, RunToEnd(command, {}, output, CatchStopSignals::Caught));
  if (code == 0) return {};
  if (code == 128 + SIGINT || code == static_cast<int>(ExitCode::kInterrupted) || CatchStopSignals::Caught() != 0)
    return Fail(ErrorCode::kCancelled, what + " was interrupted", "", "go on with --resume");
  const ErrorCode kind = code == static_cast<int>(ExitCode::kInvalidInput)  ? ErrorCode::kInvalidInput
                         : code == static_cast<int>(ExitCode::kUnavailable) ? ErrorCode::kUnavailable
                                                                            : ErrorCode::kInternal;
  return Fail(kind, fmt::format("{} ended with exit code {}", what, code), fmt::format("{}", fmt::join(command, " ")),
              "its own words stand above");
}

Result<std::vector<json>> ReadJsonLines(const std::string& path) {
  CANDOR_ASSIGN(std::string bytes, ReadFile(path));
  std::vector<json> lines;
  std::istringstream stream(bytes);
  for (std::string line; std::getline(stream, line);) {
    json value = json::parse(line, nullptr, false);
    if (!value.is_object()) return Fail(ErrorCode::kInvalidInput, "not a JSON object", fmt::format("{}:{}", path, lines.size() + 1));
    lines.push_back(std::move(value));
  }
  return lines;
}

// Few-shot questions -> the model's own greedy answers -> rows whose completions show the format.
Status SelfAnswers(const StageJob& job) {
  const SelfAnswerOptions& options = job.recipe.self_answers;
  CANDOR_ASSIGN(DataSet shots, ReadDataSet(options.few_shot, {}, {.answer = true}));
  CANDOR_ASSIGN(DataSet questions, ReadDataSet(options.rows, {}, {}));
  json examples = json::array();
  for (const DataRow& shot : shots.rows) {
    examples.push_back({{"role", "user"}, {"content", shot.prompt}});
    if (shot.answers.empty()) return Fail(ErrorCode::kInvalidInput, "a few-shot example needs an answer", shot.where);
    examples.push_back({{"role", "assistant"}, {"content", shot.answers.front()}});
  }
  std::string prompts;
  for (const DataRow& question : questions.rows) {
    json messages = examples;
    messages.push_back({{"role", "user"}, {"content", question.prompt}});
    prompts += json{{"id", question.id}, {"prompt", messages}}.dump() + "\n";
  }
  const std::string asked = job.folder + "/prompts.jsonl", answered = job.folder + "/answers.jsonl";
  CANDOR_TRY(WriteFileAtomic(asked, prompts));
  CANDOR_TRY(
      RunTorch(job.recipe, job.folder,
               {"generate", job.model, "--prompts", asked, "--temperature", "0", "--max-new-tokens", std::to_string(options.max_new_tokens),
                "--confidence", "none", "--system", "", "--device", job.recipe.run.device, "--dtype", job.recipe.run.dtype},
               answered, "the stage self_answers"));
  CANDOR_ASSIGN(std::vector<json> replies, ReadJsonLines(answered));
  std::map<std::string, std::string> question_of;
  for (const DataRow& question : questions.rows) question_of[question.id] = question.prompt;
  std::string rows;
  for (size_t i = 0; i < replies.size(); ++i) {
    const std::string answer = FirstLineAnswer(replies[i].value("text", ""), options.answer_after);
    if (answer.empty()) continue;
    const double confidence = std::round(RandomUnit(static_cast<uint64_t>(job.recipe.run.seed), RngStream::kSftConfidence, i) * 100) / 100;
    rows += json{{"id", replies[i].value("id", "")},
                 {"prompt", question_of[replies[i].value("id", "")]},
                 {"completion", FormatCompletion(job.recipe.format, answer, confidence)}}
                .dump() +
            "\n";
  }
  return WriteFileAtomic(job.folder + "/rows.jsonl", rows);
}

Status Sft(const StageJob& job, const std::string& rows, const std::vector<std::string>& overrides) {
  const std::string kept_rows = job.unfinished + "/rows.jsonl";  // a path that the next try has as well
  CANDOR_ASSIGN(const std::string bytes, ReadFile(rows));
  CANDOR_TRY(WriteFileAtomic(kept_rows, bytes));
  std::vector<std::string> command{"sft",      job.model,       kept_rows, job.folder + "/model",
                                   "--recipe", job.recipe_file, "--keep",  job.unfinished + "/sft"};
  command.insert(command.end(), overrides.begin(), overrides.end());
  if (job.quiet) command.push_back("--quiet");
  return RunTorch(job.recipe, job.folder, command, "", "supervised fine-tuning");
}

// Questions -> sampled and greedy answers of the fine-tuned model, verified -> labelled rows -> the slot's squared error with the answers
// as anchor.
Status WarmUp(const StageJob& job) {
  const WarmUpOptions& options = job.recipe.warm_up;
  const std::string &rows = WarmUpRows(job.recipe), asked = job.folder + "/answers.jsonl", answered = job.unfinished + "/answers.jsonl";
  if (!FileExists(answered)) {  // an earlier try may have had them
    CANDOR_TRY(RunTorch(job.recipe, job.folder,
                        {"eval", job.model, rows, "--recipe", job.recipe_file, "--limit", std::to_string(options.questions), "--samples",
                         std::to_string(options.samples), "--temperature", fmt::format("{}", options.temperature), "--out", asked},
                        "", "asking the fine-tuned model for the stage warm_up"));
    CANDOR_ASSIGN(const std::string bytes, ReadFile(asked));
    CANDOR_TRY(WriteFileAtomic(answered, bytes));
  }
  CANDOR_ASSIGN(std::vector<json> answers, ReadJsonLines(answered));
  std::string labelled;
  for (const json& answer : answers) {
    const std::string label = answer.value("label", "unknown");
    if (label == "unknown" || answer.value("answer", "").empty()) continue;
    labelled +=
        json{{"prompt", answer.value("question", "")}, {"completion", answer.value("text", "")}, {"label", label == "correct" ? 1 : 0}}
            .dump() +
        "\n";
  }
  CANDOR_TRY(WriteFileAtomic(job.folder + "/rows.jsonl", labelled));
  return Sft(job, job.folder + "/rows.jsonl",
             {fmt::format("sft.lr={}", options.lr), fmt::format("sft.epochs={}", options.epochs),
              fmt::format("sft.anchor_weight={}", options.anchor_weight)});
}

}  // namespace

std::string FirstLineAnswer(const std::string& reply, const std::string& after) {
  std::string line = reply.substr(0, reply.find('\n'));
  if (!after.empty()) {
    const size_t at = line.find(after);
    if (at == std::string::npos) return "";
    line = line.substr(at + after.size());
  }
  auto strip = [&](const char* what) {
    size_t begin = line.find_first_not_of(what), end = line.find_last_not_of(what);
    line = begin == std::string::npos ? "" : line.substr(begin, end - begin + 1);
  };
  strip(" \t\r\"'*.");
  return line.find_first_of("<>") == std::string::npos ? line : "";
}

std::string FormatCompletion(const FormatOptions& format, const std::string& answer, double confidence) {
  std::string text;
  for (const std::string& tag : format.tags) {
    if (!text.empty()) text += "\n";
    text += "<" + tag + ">" +
            (tag == "answer"       ? answer
             : tag == "confidence" ? fmt::format("{:.2f}", confidence)
                                   : std::string("...")) +
            "</" + tag + ">";
  }
  return text;
}

namespace {

struct StageCall {
  const Recipe& recipe;
  const RunDir& run;
  bool quiet;
};

// One stage through the cache. Its folder there is made anew by each try; what a stopped try had learned waits in the run's folder. Returns
// the folder.
Result<std::string> CachedStage(const StageCall& call, const std::string& stage, const std::string& model, const std::string& rows_before,
                                const std::function<Status(const StageJob&)>& work) {
  const auto& [recipe, run, quiet] = call;
  CANDOR_ASSIGN(std::string hash, StageHash(stage, recipe, model, rows_before));
  const std::string folder = recipe.run.stage_cache + "/" + stage + "-" + hash,
                    part = folder + fmt::format(".part.{}.{}", ProcessToken(), ::getpid());
  if (FileExists(folder + "/done.json")) {
    if (!quiet) std::fprintf(stderr, "stage %s: reusing %s\n", stage.c_str(), folder.c_str());
    return folder;
  }
  if (!quiet) std::fprintf(stderr, "stage %s\n", stage.c_str());
  CANDOR_TRY(MakeFolders(part));
  Recipe shared = recipe;
  CANDOR_TRY(WriteFileAtomic(part + "/recipe.toml", ResolvedText(shared)));
  StageJob job{recipe, model, part, part + "/recipe.toml", run.Unfinished() + "/" + stage + "-" + hash, quiet};
  CANDOR_TRY(MakeFolders(job.unfinished));
  if (Status done = work(job); !done) {
    (void)RemoveTree(part);
    return Fail(done.error());
  }
  CANDOR_TRY(WriteFileAtomic(part + "/done.json", json{{"stage", stage}, {"model", model}}.dump()));
  if (FileExists(folder + "/done.json")) {  // another run made the same meanwhile, and may be reading it
    CANDOR_TRY(RemoveTree(part));
    return folder;
  }
  CANDOR_TRY(RemoveTree(folder));
  std::error_code error;
  std::filesystem::rename(part, folder, error);
  if (error && FileExists(folder + "/done.json")) return folder;
  if (error) return Fail(ErrorCode::kIo, "cannot keep the stage's result: " + error.message(), folder);
  return folder;
}

}  // namespace

Result<StartPolicies> RunStagesBeforeRl(const Recipe& recipe, const RunDir& run, bool quiet) {
  std::string model = recipe.run.model, rows = recipe.sft_rows.path, before_warm_up;
  json record = json::array();
  const StageCall call{recipe, run, quiet};
  for (const std::string& stage : recipe.run.stages) {
    if (stage == "rl") break;
    std::string folder;
    if (stage == "self_answers") {
      CANDOR_ASSIGN(folder, CachedStage(call, stage, model, "", SelfAnswers));
      rows = folder + "/rows.jsonl";
    } else if (stage == "sft") {
      CANDOR_ASSIGN(std::string rows_hash, HashFileHex(rows));
      CANDOR_ASSIGN(folder, CachedStage(call, stage, model, rows_hash, [&](const StageJob& job) { return Sft(job, rows, {}); }));
      model = folder + "/model";
    } else {
      CANDOR_ASSIGN(folder, CachedStage(call, stage, model, "", WarmUp));
      before_warm_up = model;
      model = folder + "/model";
    }
    record.push_back({{"stage", stage}, {"folder", folder}});
  }
  CANDOR_TRY(RemoveTree(run.Unfinished()));
  CANDOR_TRY(WriteFileAtomic(run.Stages(), record.dump(1)));
  return StartPolicies{before_warm_up.empty() ? model : before_warm_up, model};
}

Status Evaluate(const Recipe& recipe, const RunDir& run, const std::string& when, const std::string& model, bool quiet) {
  if (recipe.evals.empty() || FileExists(run.Answers(when))) return {};
  const bool warm_up = when == "warm_up";
  const auto held_out =
      std::find_if(recipe.evals.begin(), recipe.evals.end(), [](const EvalSetOptions& e) { return e.role == "held_out"; });
  if (warm_up && held_out == recipe.evals.end()) return {};
  if (!quiet) std::fprintf(stderr, "evaluating %s: %s\n", warm_up ? "after the warm-up" : (when + " RL").c_str(), model.c_str());
  std::vector<std::string> command{"eval", model};
  if (warm_up) command.insert(command.end(), {held_out->path, "--name", held_out->name, "--samples", "0"});
  if (warm_up && held_out->n > 0) command.insert(command.end(), {"--limit", std::to_string(held_out->n)});
  command.insert(command.end(), {"--recipe", run.Resolved(), "--out", run.Answers(when)});
  if (quiet) command.push_back("--quiet");
  return RunTorch(recipe, run.path, command, "/dev/null", "the evaluation");
}

}  // namespace candor::cli
