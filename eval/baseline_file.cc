#include "eval/baseline_file.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/fs.h"
#include "core/json_depth.h"

namespace candor {

namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kMadeBy = "baseline_by";

tl::unexpected<Error> CannotWrite(const std::string& path) {
  return Fail(ErrorCode::kIo, std::string("cannot write: ") + std::strerror(errno), path);
}

std::string PrintedRow(const Json& value) { return value.dump(-1, ' ', false, Json::error_handler_t::replace); }

std::string Without(Json row, const std::string& field) {
  row.erase(field);
  row.erase(kMadeBy);
  return PrintedRow(row);
}

}  // namespace

Result<BaselineFile> BaselineFile::Open(const std::string& path, const BaselineSettings& settings, const DataSet& rows) {
  if (FileExists(path))
    return Fail(ErrorCode::kInvalidInput, "the file is there already", path, "take another name, or remove it to make it anew");
  BaselineFile file(path, settings);
  if (FileExists(file.Part())) CANDOR_TRY(file.TakeUp(rows));
  file.file_.reset(std::fopen(file.Part().c_str(), "ab"));
  if (!file.file_) return CannotWrite(file.Part());
  return file;
}

Status BaselineFile::TakeUp(const DataSet& rows) {
  CANDOR_ASSIGN(const std::string bytes, ReadFile(Part()));
  size_t at = 0;
  for (size_t end = bytes.find('\n'); end != std::string::npos; at = end + 1, end = bytes.find('\n', at)) {
    if (done_ >= rows.rows.size())
      return Fail(ErrorCode::kInvalidInput, fmt::format("it holds more than the {} rows", rows.rows.size()), Part(),
                  "remove it to begin anew");
    CANDOR_TRY(CheckLine(bytes.substr(at, end - at), rows.rows[done_]));
    ++done_;
  }
  if (at == bytes.size()) return {};
  std::error_code error;
  std::filesystem::resize_file(Part(), at, error);
  if (error) return Fail(ErrorCode::kIo, "cannot cut the line that was torn off: " + error.message(), Part());
  return {};
}

Status BaselineFile::CheckLine(const std::string& line, const DataRow& row) {
  const auto refuse = [&](const std::string& what) {
    return Fail(ErrorCode::kInvalidInput, what, fmt::format("{}:{}", Part(), done_ + 1), "remove it to begin anew, or take another --out");
  };
  if (BracketDepth(line) > kMaxJsonDepth || MostKeys(line) > kMaxJsonKeys)
    return refuse("the line is nested too deeply, or has too many keys");
  const Json json = Json::parse(line, nullptr, false);
  const Json source = Json::parse(row.json, nullptr, false);
  if (!json.is_object() || !json.contains(settings_.field) || !json[settings_.field].is_array())
    return refuse(fmt::format("the line holds no list \"{}\"", settings_.field));
  const std::string then = PrintedRow(json.value(kMadeBy, Json())), now = PrintedRow(Json(settings_.by));  // a path may be no UTF-8
  if (then != now) return refuse(fmt::format("it was begun with other settings: {} then, {} now", then, now));
  if (Without(json, settings_.field) != Without(source, settings_.field))
    return refuse(fmt::format("the line is not of the row at {}", row.where));
  std::vector<double> scores;
  for (const Json& score : json[settings_.field]) {
    if (!score.is_number()) return refuse("a score is no number");
    scores.push_back(score.get<double>());
  }
  Count(scores);
  return {};
}

void BaselineFile::Count(const std::vector<double>& scores) {
  for (double score : scores) score_sum_ += score;
  scores_ += scores.size();
  empty_ += scores.empty() ? 1 : 0;
}

Status BaselineFile::Append(const DataRow& row, const std::vector<double>& scores) {
  Json json = Json::parse(row.json, nullptr, false);
  if (!json.is_object()) return Fail(ErrorCode::kInvalidInput, "the row is no JSON object", row.where);
  json[settings_.field] = scores;
  json[kMadeBy] = settings_.by;
  const std::string line = PrintedRow(json) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_.get()) != line.size() || std::fflush(file_.get()) != 0) return CannotWrite(Part());
  Count(scores);
  ++done_;
  return {};
}

Status BaselineFile::Finish() {
  if (std::fflush(file_.get()) != 0 || ::fsync(::fileno(file_.get())) != 0) return CannotWrite(Part());
  file_.reset();
  if (std::rename(Part().c_str(), path_.c_str()) != 0) return CannotWrite(path_);
  return {};
}

}  // namespace candor
