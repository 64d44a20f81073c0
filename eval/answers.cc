#include "eval/answers.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/fs.h"

namespace candor {

namespace {
using nlohmann::json;

const char* const kLabels[] = {"wrong", "correct", "unknown"};

tl::unexpected<Error> BadRow(const std::string& what, const std::string& where) {
  return Fail(ErrorCode::kInvalidInput, what, where, "the file must be one that `candor eval` wrote");
}
}  // namespace

std::string ToJsonLine(const AnswerRow& row) {
  json line = {{"dataset", row.dataset},    {"role", row.role},
               {"prompt", row.prompt},      {"greedy", row.greedy},
               {"sample", row.sample},      {"question", row.question},
               {"text", row.text},          {"answer", row.answer},
               {"accepted", row.accepted},  {"slice", row.slices},
               {"signals", json::object()}, {"label", kLabels[static_cast<int>(row.label)]},
               {"confidence", nullptr},     {"format_error", row.format_error}};
  for (const auto& [name, value] : row.signals)
    if (std::isfinite(value)) line["signals"][name] = value;  // JSON has no word for the others
  if (!row.paraphrase_of.empty()) line["paraphrase_of"] = row.paraphrase_of;
  if (row.confidence) line["confidence"] = *row.confidence;
  if (row.label != Label::kUnknown) line["correct"] = row.label == Label::kCorrect;
  return line.dump(-1, ' ', false, json::error_handler_t::replace);
}

Result<AnswerRow> ParseAnswerRow(const std::string& text, const std::string& where) {
  json line = json::parse(text, nullptr, false);
  if (!line.is_object()) return BadRow("not a JSON object", where);
  AnswerRow row;
  try {
    row.dataset = line.at("dataset").get<std::string>();
    row.role = line.value("role", "held_out");
    row.prompt = line.at("prompt").get<std::string>();
    row.paraphrase_of = line.value("paraphrase_of", "");
    row.greedy = line.at("greedy").get<bool>();
    row.sample = line.value("sample", 0);
    row.question = line.value("question", "");
    row.text = line.value("text", "");
    row.answer = line.value("answer", "");
    row.accepted = line.value("accepted", std::vector<std::string>{});
    row.slices = line.value("slice", std::vector<std::string>{});
    row.signals = line.value("signals", std::map<std::string, double>{});
    row.format_error = line.value("format_error", "");
    const std::string label = line.at("label").get<std::string>();
    row.label = label == "correct" ? Label::kCorrect : label == "wrong" ? Label::kWrong : Label::kUnknown;
    if (const json& confidence = line.at("confidence"); !confidence.is_null()) row.confidence = confidence.get<double>();
  } catch (const json::exception& error) {
    return BadRow(error.what(), where);
  }
  if (row.confidence && !(0.0 <= *row.confidence && *row.confidence <= 1.0)) return BadRow("`confidence` must lie in [0, 1]", where);
  return row;
}

Result<std::vector<AnswerRow>> ReadAnswers(const std::string& path) {
  CANDOR_ASSIGN(std::string bytes, ReadFile(path));
  std::vector<AnswerRow> rows;
  std::istringstream lines(bytes);
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    if (line.empty()) continue;
    CANDOR_ASSIGN(AnswerRow row, ParseAnswerRow(line, fmt::format("{}:{}", path, number)));
    rows.push_back(std::move(row));
  }
  return rows;
}

Status WriteAnswers(const std::string& path, const std::vector<AnswerRow>& rows) {
  std::string bytes;
  for (const AnswerRow& row : rows) bytes += ToJsonLine(row) + "\n";
  return WriteFileAtomic(path, bytes);
}

}  // namespace candor
