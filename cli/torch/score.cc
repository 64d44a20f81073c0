// `candor score MODEL F.jsonl`: teacher-forced log-probabilities of given completions, one JSON line per row.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>

#include "cli/command_line.h"
#include "cli/run_dir.h"
#include "cli/torch/commands.h"
#include "core/json_depth.h"
#include "model/device.h"
#include "model/policy_pass.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace candor::cli {
namespace {

using Json = nlohmann::json;

constexpr const char* kScoreExamples = R"(Rows, one JSON object per line, each with one of
  {"prompt": "2 + 2 =", "completion": " 4"}                 text; a prompt may also be a list of chat messages
  {"prompt_ids": [34, 19], "completion_ids": [216, 36]}     token ids, taken as they are
Writes one line {"logprobs": [..]} per row: natural log-probabilities of the completion's tokens given what is before them, at temperature 1.

Examples:
  candor score models/SmolLM2-135M-Instruct rows.jsonl > logprobs.jsonl
  candor score runs/cities rows.jsonl --dtype fp32
  echo '{"prompt": "2 + 2 =", "completion": " 4"}' | candor score models/SmolLM2-135M-Instruct -)";

// Tokens scored in one pass: enough to keep products efficient, few enough for any machine's memory.
constexpr int64_t kRowsPerPass = 4096;

struct ScoreArguments {
  std::string model, path, device = "auto", dtype = "auto";
};

struct Scorer {
  ModelConfig config;
  Parameters parameters;
  Numerics numerics;
  std::optional<Tokenizer> tokenizer;
  std::optional<ChatTemplate> chat_template;
};

Result<Scorer> LoadScorer(const ScoreArguments& arguments) {
  Scorer scorer;
  CANDOR_ASSIGN(const std::string folder, ModelFolderOf(arguments.model));
  CANDOR_ASSIGN(const DType dtype, ParseDType(arguments.dtype));
  CANDOR_ASSIGN(const at::Device device, OpenDevice(arguments.device));
  CANDOR_ASSIGN(scorer.config, ReadModelConfig(folder));
  CANDOR_ASSIGN(scorer.tokenizer, Tokenizer::Load(folder));
  CANDOR_ASSIGN(scorer.chat_template, ChatTemplate::Load(folder));
  scorer.numerics.dtype = ResolveDType(dtype, device);
  CANDOR_ASSIGN(const Parameters loaded, LoadParameters(folder, scorer.config, ToScalarType(scorer.numerics.dtype)));
  scorer.parameters = loaded.To(device);
  return scorer;
}

struct Row {
  std::vector<int32_t> prompt, completion;
};

Result<std::vector<int32_t>> ReadIds(const Json& value, const char* name, int64_t vocab_size) {
  if (!value.is_array()) return Fail(ErrorCode::kInvalidInput, std::string("'") + name + "' must be a list of token ids");
  std::vector<int32_t> ids;
  for (const Json& id : value) {
    const bool fits = id.is_number_integer() && 0 <= id.get<int64_t>() && id.get<int64_t>() < vocab_size;
    if (!fits)
      return Fail(ErrorCode::kInvalidInput, std::string("'") + name + "' holds " + id.dump() + ", which is not a token id of this model",
                  "", "ids are below " + std::to_string(vocab_size));
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

Result<std::vector<int32_t>> EncodePrompt(const Scorer& scorer, const Json& prompt) {
  if (prompt.is_string()) return scorer.tokenizer->Encode(prompt.get<std::string>(), true);
  if (!prompt.is_array()) return Fail(ErrorCode::kInvalidInput, "'prompt' must be a string or a list of messages");
  RenderOptions options;
  options.add_generation_prompt = true;
  CANDOR_ASSIGN(const RenderedChat chat, scorer.chat_template->Render(prompt.dump(), options));
  return scorer.tokenizer->Encode(chat.text, false);
}

Result<Row> ReadRow(const Scorer& scorer, const std::string& line) {
  if (BracketDepth(line) > kMaxJsonDepth) return Fail(ErrorCode::kInvalidInput, "the row is nested too deeply");
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object())
    return Fail(ErrorCode::kInvalidInput, "the line is not a JSON object", "", "write one object per line; see candor score --help");
  Row row;
  if (json.contains("prompt_ids") && json.contains("completion_ids")) {
    CANDOR_ASSIGN(row.prompt, ReadIds(json["prompt_ids"], "prompt_ids", scorer.config.vocab_size));
    CANDOR_ASSIGN(row.completion, ReadIds(json["completion_ids"], "completion_ids", scorer.config.vocab_size));
  } else if (json.contains("prompt") && json.contains("completion")) {
    if (!json["completion"].is_string()) return Fail(ErrorCode::kInvalidInput, "'completion' must be a string");
    CANDOR_ASSIGN(row.prompt, EncodePrompt(scorer, json["prompt"]));
    CANDOR_ASSIGN(row.completion, scorer.tokenizer->Encode(json["completion"].get<std::string>(), false));
  } else {
    return Fail(ErrorCode::kInvalidInput, "the row needs 'prompt' and 'completion', or 'prompt_ids' and 'completion_ids'");
  }
  if (row.prompt.empty()) return Fail(ErrorCode::kInvalidInput, "the prompt has no tokens, so nothing predicts the completion's first one");
  const auto length = static_cast<int64_t>(row.prompt.size() + row.completion.size());
  if (length > scorer.config.max_positions) {
    return Fail(ErrorCode::kInvalidInput,
                "the row has " + std::to_string(length) + " tokens; the model takes " + std::to_string(scorer.config.max_positions));
  }
  return row;
}

Status ScoreBatch(const Scorer& scorer, const std::vector<Row>& rows) {
  PackedGroups batch;
  batch.Begin(CommonBeginning(rows, &Row::prompt));
  for (const Row& row : rows) CANDOR_TRY(batch.Add(row.prompt, {row.completion}));
  CANDOR_ASSIGN(const TokenScores scores, ScoreTokens(scorer.config, scorer.parameters, scorer.numerics, batch));
  const float* log_probs = scores.log_probs_M.const_data_ptr<float>();
  for (const Row& row : rows) {
    Json line;
    line["logprobs"] = std::vector<float>(log_probs, log_probs + row.completion.size());
    log_probs += row.completion.size();
    std::printf("%s\n", line.dump().c_str());
  }
  std::fflush(stdout);
  return {};
}

Status Score(const ScoreArguments& arguments) {
  std::ifstream file;
  if (arguments.path != "-") {
    file.open(arguments.path, std::ios::binary);
    if (!file) return Fail(ErrorCode::kNotFound, "cannot read the rows", arguments.path);
  }
  std::istream& in = arguments.path == "-" ? std::cin : file;
  CANDOR_ASSIGN(const Scorer scorer, LoadScorer(arguments));
  std::vector<Row> rows;
  int64_t tokens = 0, number = 0;
  for (std::string line; std::getline(in, line);) {
    ++number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    auto row = ReadRow(scorer, line);
    if (!row) {
      Error error = row.error();
      error.where = arguments.path + ":" + std::to_string(number) + (error.where.empty() ? "" : ", " + error.where);
      return Fail(std::move(error));
    }
    tokens += static_cast<int64_t>(row->prompt.size() + row->completion.size());
    rows.push_back(std::move(*row));
    if (tokens < kRowsPerPass) continue;
    CANDOR_TRY(ScoreBatch(scorer, rows));
    rows.clear();
    tokens = 0;
  }
  return ScoreBatch(scorer, rows);
}

}  // namespace

int RunScore(int argc, const char* const* argv) {
  ScoreArguments arguments;
  CommandLine app{"Log-probabilities of given completions under a model (teacher forcing).", "candor score"};
  app.AddFooter(kScoreExamples);
  app.Add("MODEL", &arguments.model, "Hugging Face folder, or the folder of a run").Required();
  app.Add("FILE", &arguments.path, "JSONL file of rows, - for standard input").Required();
  app.Add("--device", &arguments.device, "auto (a GPU where one can be used), cpu or cuda").OneOf({"auto", "cpu", "cuda"});
  app.Add("--dtype", &arguments.dtype, "auto (the faster one here), bf16 or fp32").OneOf({"auto", "bf16", "fp32"});
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("score", Score(arguments));
}

}  // namespace candor::cli
