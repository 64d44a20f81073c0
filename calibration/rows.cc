// Parsing of rows and their grouping by prompt and slice.
#include "calibration/rows.h"

#include <filesystem>
#include <fstream>
#include <iostream>
#include <nlohmann/json.hpp>
#include <sstream>
#include <unordered_map>

#include "core/json_depth.h"
#include "core/rng.h"

namespace candor::calibration {
namespace {

using Json = nlohmann::json;

constexpr const char* kRowForm =
    R"(write one JSON object per line, such as {"confidence": 0.8, "correct": true, "slice": "geo", "prompt": "q17"})";

std::string Shown(const Json& value) {
  std::string text = value.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

Result<double> UnitNumber(const Json& value, const std::string& key, const std::string& where) {
  if (value.is_boolean()) return value.get<bool>() ? 1.0 : 0.0;
  if (value.is_number()) {
    const double number = value.get<double>();
    if (0.0 <= number && number <= 1.0) return number;
  }
  return Fail(
      ErrorCode::kInvalidInput, "\"" + key + "\" is " + Shown(value) + ", not a number from 0 to 1", where,
      key == "confidence" ? "give a probability (80 % is 0.8), or null when there is none" : "give true, false or a number from 0 to 1");
}

// Prompts and slices are strings or whole numbers.
Result<std::string> NameIn(const Json& value, const char* key, const std::string& where) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.dump();
  return Fail(ErrorCode::kInvalidInput, std::string("\"") + key + "\" is " + Shown(value) + ", not a string", where,
              "give a string or a whole number");
}

Status ReadNames(const Json& json, const std::string& where, Row& row) {
  if (const auto prompt = json.find("prompt"); prompt != json.end() && !prompt->is_null()) {
    CANDOR_ASSIGN(row.prompt, NameIn(*prompt, "prompt", where));
  }
  const auto slice = json.find("slice");
  if (slice == json.end() || slice->is_null()) return {};
  for (const Json& one : slice->is_array() ? *slice : Json::array({*slice})) {
    CANDOR_ASSIGN(std::string name, NameIn(one, "slice", where));
    if (!name.empty()) row.slices.push_back(std::move(name));
  }
  return {};
}

// nullopt: its label is unknown.
Result<std::optional<Row>> ParseRow(std::string_view line, const std::string& where) {
  if (BracketDepth(line) > kMaxJsonDepth)
    return Fail(ErrorCode::kInvalidInput, "the row is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels", where, kRowForm);
  // NaN and Infinity are no JSON; name them, since other tools write them.
  const Json json = Json::parse(line.begin(), line.end(), nullptr, false);
  if (json.is_discarded()) {
    const bool not_finite = line.find("NaN") != line.npos || line.find("Infinity") != line.npos;
    return Fail(ErrorCode::kInvalidInput,
                not_finite ? "the line holds NaN or Infinity, which is no JSON and no probability" : "the line is not JSON", where,
                not_finite ? "write null where there is no confidence" : kRowForm);
  }
  if (!json.is_object()) return Fail(ErrorCode::kInvalidInput, "the line is not a JSON object", where, kRowForm);
  Row row;
  const auto correct = json.find("correct");
  if (const auto label = json.find("label"); correct == json.end() && label != json.end() && *label == "unknown") return std::nullopt;
  if (correct == json.end()) return Fail(ErrorCode::kInvalidInput, "the row has no \"correct\"", where, kRowForm);
  CANDOR_ASSIGN(row.label, UnitNumber(*correct, "correct", where));
  const auto confidence = json.find("confidence");
  if (confidence != json.end() && !confidence->is_null()) {
    if (confidence->is_boolean())
      return Fail(ErrorCode::kInvalidInput, "\"confidence\" is " + Shown(*confidence) + ", not a number from 0 to 1", where, kRowForm);
    CANDOR_ASSIGN(const double p, UnitNumber(*confidence, "confidence", where));
    row.confidence = Confidence::From(p);
  }
  CANDOR_TRY(ReadNames(json, where, row));
  return row;
}

uint64_t HashText(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325ull;  // FNV-1a, then mixed: FNV alone leaves the high bits of short texts weak
  for (unsigned char c : text) hash = (hash ^ c) * 0x100000001B3ull;
  return SplitMix64(hash);
}

}  // namespace

Result<std::vector<Row>> ParseRows(std::string_view text, const std::string& name, int64_t* unknown) {
  std::vector<Row> rows;
  size_t line_number = 0;
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    ++line_number;
    if (line.find_first_not_of(" \t\r") == line.npos) continue;
    CANDOR_ASSIGN(std::optional<Row> row, ParseRow(line, name + ":" + std::to_string(line_number)));
    if (row)
      rows.push_back(std::move(*row));
    else if (unknown != nullptr)
      ++*unknown;
  }
  return rows;
}

Result<std::vector<Row>> ReadRows(const std::string& path, int64_t* unknown) {
  std::error_code no_matter;
  std::ostringstream text;
  if (path == "-") {
    text << std::cin.rdbuf();
    return ParseRows(text.str(), "standard input", unknown);
  }
  if (std::filesystem::is_directory(path, no_matter))
    return Fail(ErrorCode::kInvalidInput, "this is a folder, not a file of rows", path, "name a .jsonl file");
  std::ifstream file(path, std::ios::binary);
  if (!file) return Fail(ErrorCode::kNotFound, "cannot open the file", path, "check the path; - reads standard input");
  text << file.rdbuf();
  if (file.bad())
    return Fail(ErrorCode::kIo, "cannot read the file", path);  // an empty file fails the target stream only, which is no error
  return ParseRows(text.str(), path, unknown);
}

uint64_t ClusterId(const std::string& prompt, size_t row_index) { return prompt.empty() ? row_index : HashText(prompt); }

Points PointsOf(const std::vector<Row>& rows) {
  Points points;
  points.reserve(rows.size());
  for (size_t i = 0; i < rows.size(); ++i)
    if (rows[i].confidence) points.push_back({rows[i].confidence->value(), rows[i].label, ClusterId(rows[i].prompt, i)});
  return points;
}

Points PointsOf(const std::vector<Row>& rows, double replacement) {
  Points points;
  points.reserve(rows.size());
  for (size_t i = 0; i < rows.size(); ++i)
    points.push_back({rows[i].confidence ? rows[i].confidence->value() : replacement, rows[i].label, ClusterId(rows[i].prompt, i)});
  return points;
}

Points MakePoints(const std::vector<double>& p, const std::vector<double>& y) {
  Points points;
  for (size_t i = 0; i < p.size() && i < y.size(); ++i) points.push_back({p[i], y[i], i});
  return points;
}

std::vector<std::vector<size_t>> ClusterMembers(const Points& points) {
  std::vector<std::vector<size_t>> clusters;
  std::unordered_map<uint64_t, size_t> index_of;
  for (size_t i = 0; i < points.size(); ++i) {
    const auto [it, is_new] = index_of.try_emplace(points[i].cluster, clusters.size());
    if (is_new) clusters.emplace_back();
    clusters[it->second].push_back(i);
  }
  return clusters;
}

Points OnePerCluster(const Points& points) {
  const auto clusters = ClusterMembers(points);
  if (clusters.size() == points.size()) return points;
  Points chosen;
  chosen.reserve(clusters.size());
  for (const auto& members : clusters) chosen.push_back(points[members[SplitMix64(points[members[0]].cluster) % members.size()]]);
  return chosen;
}

std::map<std::string, std::vector<Row>> RowsBySlice(const std::vector<Row>& rows) {
  std::map<std::string, std::vector<Row>> slices;
  for (const Row& row : rows)
    for (const std::string& name : row.slices) slices[name].push_back(row);
  return slices;
}

}  // namespace candor::calibration
