// candor tokenize MODEL F.jsonl: rows {"text"} or {"messages"} to {"ids", "text"}, exactly as Hugging Face would tokenize and render them.
#include <cstdio>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/run_dir.h"
#include "core/fs.h"
#include "core/json_depth.h"
#include "core/result.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

namespace candor::cli {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kTokenizeExamples = R"(Rows, one JSON object per line, each with one of
  {"text": "Hello"}                                          tokenized as it is
  {"messages": [{"role": "user", "content": "Hello"}]}       rendered by the model's chat template first; "tools" is passed to it
Writes one line {"ids": [..], "text": ".."} per row, the text as it was tokenized.

Examples:
  candor tokenize models/SmolLM2-135M-Instruct rows.jsonl > ids.jsonl
  candor tokenize runs/cities rows.jsonl --add-generation-prompt
  echo '{"text": " high"}' | candor tokenize models/SmolLM2-135M-Instruct - --tokens
)";

struct TokenizeArguments {
  std::string model, path;
  bool add_generation_prompt = false, no_special = false, tokens = false;
};

struct Loaded {
  Tokenizer tokenizer;
  ChatTemplate chat_template;
};

Result<Loaded> Load(const std::string& model) {
  // Only the tokenizer's files are needed, so a folder without weights will do.
  std::string folder = model;
  if (!FileExists(model + "/tokenizer.json")) {
    CANDOR_ASSIGN(folder, ModelFolderOf(model));
  }
  CANDOR_ASSIGN(Tokenizer tokenizer, Tokenizer::Load(folder));
  CANDOR_ASSIGN(ChatTemplate chat_template, ChatTemplate::Load(folder));
  return Loaded{std::move(tokenizer), std::move(chat_template)};
}

Result<Json> ParseLine(const std::string& line, const std::string& where) {
  if (BracketDepth(line) > kMaxJsonDepth) return Fail(ErrorCode::kInvalidInput, "the row is nested too deeply", where, "flatten it");
  if (MostKeys(line) > kMaxJsonKeys)
    return Fail(ErrorCode::kInvalidInput, "an object of the row has more than " + std::to_string(kMaxJsonKeys) + " keys", where,
                "split it");
  Json row = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!row.is_object())
    return Fail(ErrorCode::kInvalidInput, "the line is not a JSON object", where, "write one JSON object per line (JSONL)");
  if (row.contains("text") == row.contains("messages")) {
    return Fail(ErrorCode::kInvalidInput, "the row needs either \"text\" or \"messages\"", where, "see candor tokenize --help");
  }
  return row;
}

// The text a row stands for: its own, or its messages as the chat template writes them.
Result<std::string> TextOfRow(const Json& row, const Loaded& loaded, const TokenizeArguments& arguments, const std::string& where) {
  if (row.contains("text")) {
    if (!row["text"].is_string()) return Fail(ErrorCode::kInvalidInput, "field \"text\" is not a string", where, "give a string");
    return row["text"].get<std::string>();
  }
  RenderOptions options;
  options.add_generation_prompt = arguments.add_generation_prompt;
  if (row.contains("tools") && !row["tools"].is_null()) options.tools_json = row["tools"].dump();
  auto chat = loaded.chat_template.Render(row["messages"].dump(), options);
  if (!chat) {
    return Fail(chat.error().code, "field \"messages\": " + chat.error().what, where + ", " + chat.error().where, chat.error().fix);
  }
  return std::move(chat->text);
}

Result<std::string> TokenizeLine(const std::string& line, const Loaded& loaded, const TokenizeArguments& arguments,
                                 const std::string& where) {
  CANDOR_ASSIGN(const Json row, ParseLine(line, where));
  CANDOR_ASSIGN(const std::string text, TextOfRow(row, loaded, arguments, where));
  const bool add_special = row.contains("text") && !arguments.no_special;  // a chat template writes its special tokens itself
  const auto ids = loaded.tokenizer.Encode(text, add_special);
  if (!ids) return Fail(ids.error().code, ids.error().what, where, ids.error().fix);
  Json out{{"ids", *ids}, {"text", text}};
  if (arguments.tokens) {
    for (const int32_t id : *ids) out["tokens"].push_back(loaded.tokenizer.IdToToken(id).value_or(""));
  }
  return out.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Status TokenizeStream(std::istream& in, const Loaded& loaded, const TokenizeArguments& arguments) {
  const std::string name = arguments.path == "-" ? "standard input" : arguments.path;
  std::string line;
  for (int64_t number = 1; std::getline(in, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    CANDOR_ASSIGN(const std::string out, TokenizeLine(line, loaded, arguments, name + ":" + std::to_string(number)));
    if (std::printf("%s\n", out.c_str()) < 0) return Fail(ErrorCode::kIo, "cannot write to standard output", name, "is the disk full?");
  }
  if (in.bad()) return Fail(ErrorCode::kIo, "cannot read on", name);
  if (std::fflush(stdout) != 0) return Fail(ErrorCode::kIo, "cannot write to standard output", name, "is the disk full?");
  return {};
}

Status Run(const TokenizeArguments& arguments) {
  CANDOR_ASSIGN(const Loaded loaded, Load(arguments.model));
  if (loaded.chat_template.is_default()) std::fprintf(stderr, "candor tokenize: %s\n", loaded.chat_template.note().c_str());
  if (arguments.path == "-") return TokenizeStream(std::cin, loaded, arguments);
  std::ifstream file(arguments.path, std::ios::binary);
  if (!file) return Fail(ErrorCode::kNotFound, "cannot open the file", arguments.path, "check the path; - reads standard input");
  return TokenizeStream(file, loaded, arguments);
}

}  // namespace

int RunTokenize(int argc, const char* const* argv) {
  TokenizeArguments arguments;
  CommandLine app("Token ids of texts or chats, the same as Hugging Face's.", "candor tokenize");
  app.Add("MODEL", &arguments.model, "a model folder in Hugging Face's layout, or a run's folder").Required();
  app.Add("FILE", &arguments.path, "JSON lines with \"text\" or \"messages\"; - reads standard input").Required();
  app.AddFlag("--add-generation-prompt", &arguments.add_generation_prompt, "end chats with the opening of the assistant's turn");
  app.AddFlag("--no-special", &arguments.no_special, "do not let the tokenizer add its special tokens (such as BOS) to texts");
  app.AddFlag("--tokens", &arguments.tokens, "also write each token as the vocabulary spells it");
  app.AddFooter(kTokenizeExamples);
  if (const auto code = app.Parse(argc, argv)) return *code;
  return ExitWith("tokenize", Run(arguments));
}

}  // namespace candor::cli
