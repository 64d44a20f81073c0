#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/fs.h"
#include "core/json_depth.h"
#include "reward/judges/judge_trial.h"
#include "reward/verifier_trial.h"
#include "reward/verifiers/normalise.h"

namespace candor {

namespace {

using Json = nlohmann::json;

std::vector<std::string> TextsOf(const Json& value) {
  std::vector<std::string> texts;
  for (const Json& one : value.is_array() ? value : Json::array({value}))
    if (one.is_string() || one.is_number()) texts.push_back(one.is_string() ? one.get<std::string>() : one.dump());
  return texts;
}

std::string PromptOf(const Json& line) {
  const Json& prompt = line.contains("question") ? line["question"] : line.value("prompt", Json());
  if (prompt.is_string()) return prompt.get<std::string>();
  std::string question;  // of messages: the last user's
  for (const Json& message : prompt.is_array() ? prompt : Json::array())
    if (message.is_object() && message.value("role", Json()) == "user" && message.value("content", Json()).is_string())
      question = message["content"].get<std::string>();
  return question;
}

// Right, wrong, or nullopt: nobody knows.
Result<std::optional<bool>> GoldLabel(const Json& line, const std::string& where) {
  const Json label = line.contains("label") ? line["label"] : line.value("correct", Json());
  if (label == "unknown" || label.is_null()) return std::optional<bool>();
  if (label == "correct" || label == true || label == 1) return std::optional(true);
  if (label == "wrong" || label == false || label == 0) return std::optional(false);
  return Fail(ErrorCode::kInvalidInput, "'label' is " + label.dump(-1, ' ', false, Json::error_handler_t::replace).substr(0, 60), where,
              "write 1, 0, \"correct\" or \"wrong\"");
}

Status AddPair(const Json& line, GoldRow row, const std::string& where, GoldSet& gold) {
  for (const auto& [name, text] : {std::pair{"chosen", &row.chosen}, {"rejected", &row.rejected}}) {
    if (!line.contains(name) || !line[name].is_string())
      return Fail(ErrorCode::kInvalidInput, fmt::format("the row has no text '{}'", name), where,
                  "a judge of pairs needs rows {\"prompt\", \"chosen\", \"rejected\"}");
    *text = line[name].get<std::string>();
  }
  gold.rows.push_back(std::move(row));
  return {};
}

Status AddLabelled(const Json& line, const char* completion, GoldRow row, const TagFormat& format, const std::string& where,
                   GoldSet& gold) {
  if (!line[completion].is_string()) return Fail(ErrorCode::kInvalidInput, fmt::format("'{}' is not a text", completion), where);
  row.completion = line[completion].get<std::string>();
  const ParsedTags parsed = ParseTags(format, row.completion);
  row.answer = parsed.valid ? parsed.answer : row.completion;
  CANDOR_ASSIGN(const std::optional<bool> label, GoldLabel(line, where));
  if (!label) return ++gold.unlabelled, Status{};
  row.correct = *label;
  gold.rows.push_back(std::move(row));
  return {};
}

Status AddGoldLine(const Json& line, const std::string& where, const TagFormat& format, bool pairs, GoldSet& gold,
                   std::vector<GoldRow>& plain) {
  GoldRow row;
  row.row.id = row.row.where = where;
  row.row.prompt = PromptOf(line);
  row.row.answers = TextsOf(line.contains("accepted") ? line["accepted"] : line.value("answer", Json()));
  if (row.row.prompt.empty()) return Fail(ErrorCode::kInvalidInput, "the row has no text 'prompt' or 'question'", where);
  if (pairs) return AddPair(line, std::move(row), where, gold);
  if (line.contains("completion")) return AddLabelled(line, "completion", std::move(row), format, where, gold);
  if (line.contains("text") && line.contains("accepted")) return AddLabelled(line, "text", std::move(row), format, where, gold);
  if (row.row.answers.empty())
    return Fail(ErrorCode::kInvalidInput, "the row has neither a completion with a label nor accepted answers", where,
                "see candor judge test --help");
  plain.push_back(std::move(row));
  return {};
}

// Each row's own answer as a right one, and an answer of the next row that this one does not accept as a wrong one.
void MakeGold(const std::vector<GoldRow>& plain, const TagFormat& format, GoldSet& gold) {
  gold.made = !plain.empty();
  const auto add = [&](const GoldRow& from, const std::string& answer, bool correct) {
    GoldRow row = from;
    row.answer = answer, row.completion = CompletionOf(format, answer), row.correct = correct;
    gold.rows.push_back(std::move(row));
  };
  for (size_t i = 0; i < plain.size(); ++i) {
    const std::vector<std::string>& accepted = plain[i].row.answers;
    add(plain[i], accepted[0], true);
    for (size_t k = 1; k < plain.size(); ++k) {
      const std::string& other = plain[(i + k) % plain.size()].row.answers[0];
      if (std::any_of(accepted.begin(), accepted.end(), [&](const std::string& answer) { return AnswersMatch(other, answer); })) continue;
      add(plain[i], other, false);
      break;
    }
  }
}

}  // namespace

Result<GoldSet> ReadGoldSet(const std::string& path, const TagFormat& format, bool pairs, int64_t limit) {
  constexpr size_t kMaxGoldBytes = size_t{1} << 30;
  CANDOR_ASSIGN(const std::string text, ReadFile(path, kMaxGoldBytes));
  GoldSet gold;
  std::vector<GoldRow> plain;
  std::istringstream lines(text);
  int64_t number = 0, taken = 0;
  for (std::string line; std::getline(lines, line) && (limit == 0 || taken < limit);) {
    const std::string where = fmt::format("{}:{}", path, ++number);
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const Json json = BracketDepth(line) > kMaxJsonDepth ? Json() : Json::parse(line, nullptr, false);
    if (!json.is_object()) return Fail(ErrorCode::kInvalidInput, "the line is not a JSON object", where);
    CANDOR_TRY(AddGoldLine(json, where, format, pairs, gold, plain));
    ++taken;
  }
  MakeGold(plain, format, gold);
  if (gold.rows.empty()) return Fail(ErrorCode::kInvalidInput, "there is no row with a label", path);
  return gold;
}

}  // namespace candor
