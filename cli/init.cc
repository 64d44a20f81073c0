// `candor init DIR --model M --data F`: a commented recipe, a verifier to change, a held-out split; then 20 rows through the verifier.
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/init_files.h"
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "core/fs.h"
#include "core/log.h"
#include "reward/verifier_trial.h"
#include "text/rows.h"
#include "text/tokenizer.h"

namespace candor::cli {
namespace {

namespace fs = std::filesystem;

constexpr const char* kInitExamples =
    R"(Writes into DIR: recipe.toml (every line explained), verifier.py (what is right? change it), train.jsonl and test.jsonl.
Without --test, a tenth of the questions (at most 1,000) is held out; rows that ask the same question stay on one side.

Examples:
  candor init capitals --model models/SmolLM2-135M-Instruct --data capitals.jsonl
  candor init capitals --model /models/Qwen3-8B --data train.jsonl --test test.jsonl
  candor check capitals/recipe.toml
  candor run capitals/recipe.toml)";

constexpr int64_t kTrialRows = 20;
constexpr size_t kMaxHeldOut = 1000;
constexpr std::pair<const char*, const char*> kSlotWords[] = {{"high", "low"}, {" high", " low"}, {"yes", "no"}, {"A", "B"}};

struct InitArguments {
  std::string folder, model, data, test;
};

// Two words that this tokenizer writes with one token each: what the confidence is read from.
Result<std::pair<std::string, std::string>> SlotWords(const std::string& model) {
  CANDOR_ASSIGN(const Tokenizer tokenizer, Tokenizer::Load(model));
  for (const auto& [high, low] : kSlotWords)
    if (tokenizer.Encode(high, false).value().size() == 1 && tokenizer.Encode(low, false).value().size() == 1) return std::pair{high, low};
  return Fail(ErrorCode::kInvalidInput, "none of the usual word pairs is one token each in this tokenizer", model + "/tokenizer.json",
              "write the recipe by hand with format.slot_high and slot_low, or with format.confidence = \"verbal\"");
}

// The longest answer that leaves most of the model's positions to the prompt.
Result<int64_t> AnswerTokens(const std::string& model) {
  CANDOR_ASSIGN(const std::string text, ReadFile(model + "/config.json"));
  const auto config = nlohmann::json::parse(text, nullptr, false);
  if (!config.is_object()) return Fail(ErrorCode::kInvalidInput, "not a JSON object", model + "/config.json", "the file is damaged");
  const auto given = config.find("max_position_embeddings");
  const int64_t positions = given != config.end() && given->is_number_integer() ? given->get<int64_t>() : 2048;
  return std::clamp<int64_t>(positions / 8, 8, 256);
}

// Which questions are held out is a function of the questions alone.
std::set<std::string> HeldOut(const std::vector<DataRow>& rows) {
  std::set<std::pair<uint64_t, std::string>> order;
  for (const DataRow& row : rows) order.emplace(std::hash<std::string>{}(row.prompt), row.prompt);
  const size_t count = std::min(kMaxHeldOut, order.size() / 10);
  std::set<std::string> held_out;
  for (const auto& [hash, prompt] : order)
    if (held_out.size() < count) held_out.insert(prompt);
  return held_out;
}

Status WriteRows(const std::string& path, const std::vector<const DataRow*>& rows) {
  std::string text;
  for (const DataRow* row : rows) text += row->json + "\n";
  return WriteFileAtomic(path, text);
}

Status Split(const InitArguments& arguments, const DataSet& set) {
  std::set<std::string> held_out;
  std::vector<const DataRow*> train, test;
  DataSet given;
  if (arguments.test.empty()) {
    held_out = HeldOut(set.rows);
    for (const DataRow& row : set.rows) (held_out.contains(row.prompt) ? test : train).push_back(&row);
  } else {
    CANDOR_ASSIGN(given, ReadDataSet(arguments.test, {}, {.answer = true}));
    for (const DataRow& row : given.rows) test.push_back(&row), held_out.insert(row.prompt);
    for (const DataRow& row : set.rows)
      if (!held_out.contains(row.prompt)) train.push_back(&row);
  }
  if (train.empty() || test.empty())
    return Fail(ErrorCode::kInvalidInput, fmt::format("{} rows to train on and {} to test on", train.size(), test.size()), arguments.data,
                "give at least 10 different questions, and with --test other questions than those of --data");
  CANDOR_TRY(WriteRows(arguments.folder + "/train.jsonl", train));
  CANDOR_TRY(WriteRows(arguments.folder + "/test.jsonl", test));
  std::printf("%zu rows to train on, %zu held out\n", train.size(), test.size());
  return {};
}

std::string Quoted(const std::string& text) {
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' || c == '\\' ? std::string("\\") + c : std::string(1, c);
  return quoted + "\"";
}

// One pass: what a value holds is not filled in again.
std::string Filled(const std::string& text, const std::map<std::string, std::string>& values) {
  std::string filled;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text[at] == '@' ? text.find('@', at + 1) : std::string::npos;
    const auto value = end == std::string::npos ? values.end() : values.find(text.substr(at, end + 1 - at));
    filled += value == values.end() ? text.substr(at, 1) : value->second;
    at = value == values.end() ? at + 1 : end + 1;
  }
  return filled;
}

Result<bool> Init(InitArguments arguments) {
  std::error_code error;
  const bool there = FileExists(arguments.folder);
  if (there && !fs::is_directory(arguments.folder, error))
    return Fail(ErrorCode::kInvalidInput, "this is no folder", arguments.folder, "name a new folder");
  if (there && !fs::is_empty(arguments.folder, error))
    return Fail(ErrorCode::kInvalidInput, "the folder is not empty, and nothing is overwritten", arguments.folder, "name a new folder");
  CANDOR_ASSIGN(arguments.model, ModelFolderOf(arguments.model));
  CANDOR_ASSIGN(const auto slot, SlotWords(arguments.model));
  CANDOR_ASSIGN(const int64_t tokens, AnswerTokens(arguments.model));
  CANDOR_ASSIGN(const DataSet set, ReadDataSet(arguments.data, {}, {.answer = true}));
  arguments.folder = fs::absolute(arguments.folder).lexically_normal().string();
  if (arguments.folder.ends_with('/')) arguments.folder.pop_back();
  CANDOR_TRY(MakeFolders(arguments.folder));
  CANDOR_TRY(Split(arguments, set));
  CANDOR_TRY(WriteFileAtomic(arguments.folder + "/verifier.py", kInitVerifier));
  const std::string recipe_path = arguments.folder + "/recipe.toml";
  CANDOR_TRY(WriteFileAtomic(recipe_path, Filled(kInitRecipe, {{"@name@", Quoted(fs::path(arguments.folder).filename().string())},
                                                               {"@model@", Quoted(fs::absolute(arguments.model).lexically_normal())},
                                                               {"@train@", Quoted(arguments.folder + "/train.jsonl")},
                                                               {"@test@", Quoted(arguments.folder + "/test.jsonl")},
                                                               {"@verifier@", Quoted(arguments.folder + "/verifier.py")},
                                                               {"@tokens@", std::to_string(tokens)},
                                                               {"@high@", Quoted(slot.first)},
                                                               {"@low@", Quoted(slot.second)}})));
  CANDOR_ASSIGN(const Recipe recipe, LoadRecipe({recipe_path}, {}));
  CANDOR_ASSIGN(const TagFormat format, TagFormat::From(recipe.format.tags, recipe.format.confidence));
  CANDOR_ASSIGN(const DataSet some, ReadDataSet(arguments.folder + "/train.jsonl", {}, {}, kTrialRows));
  CANDOR_ASSIGN(const std::unique_ptr<Verifier> verifier, MakeVerifiers(recipe.reward));
  const TrialReport report = TryVerifier(*verifier, some.rows, format);
  std::fputs(TrialTable(report).c_str(), stdout);
  std::printf(
      "%s\n\nNext:\n  candor check %s          what will it train?\n  candor run %s --dry-run  memory and time\n  candor run %s\n",
      report.ok() ? "The verifier does what it should on these rows." : "The verifier does NOT do what it should: change verifier.py.",
      recipe_path.c_str(), recipe_path.c_str(), recipe_path.c_str());
  return report.ok();
}

}  // namespace

int RunInit(int argc, const char* const* argv) {
  InitArguments arguments;
  CommandLine app{"Starts a project: recipe, verifier and held-out split for your model and data.", "candor init"};
  app.AddFooter(kInitExamples);
  app.Add("DIR", &arguments.folder, "folder to make").Required();
  app.Add("--model", &arguments.model, "Hugging Face folder, or the folder of a run").Required();
  app.Add("--data", &arguments.data, "JSONL file or folder of rows with prompt and answer (docs/formats.md)").Required();
  app.Add("--test", &arguments.test, "held-out rows, instead of a tenth of --data");
  if (const auto code = app.Parse(argc, argv)) return *code;
  spdlog::set_level(spdlog::level::err);
  const Result<bool> ok = Init(arguments);
  if (!ok) return ReportFailure("init", ok.error());
  return *ok ? 0 : static_cast<int>(ExitCode::kFailed);
}

}  // namespace candor::cli
