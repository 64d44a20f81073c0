#include "text/json_records.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <string_view>

#include "core/fs.h"
#include "core/json_depth.h"

namespace candor {

namespace {

using RecordJson = nlohmann::ordered_json;

constexpr size_t kMaxPublicFileBytes = size_t{1} << 34;

bool IsJsonSpace(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r'; }

Result<bool> TakeRecord(std::string_view text, const std::string& where, const RecordTaker& take) {
  if (BracketDepth(text) > kMaxJsonDepth || MostKeys(text) > kMaxJsonKeys)
    return Fail(ErrorCode::kInvalidInput, "the record is nested too deeply or has too many keys", where,
                "is this the file that you meant?");
  const RecordJson record = RecordJson::parse(text, nullptr, /*allow_exceptions=*/false);
  if (record.is_discarded()) return Fail(ErrorCode::kInvalidInput, "not JSON", where, "the file is damaged: download it again");
  if (!record.is_object())
    return Fail(ErrorCode::kInvalidInput, "not a JSON object", where, "the file holds one object per record, as an array or one a line");
  return take(record, where);
}

Status TakeLines(std::string_view text, const std::string& path, const RecordTaker& take) {
  for (int64_t line = 1; !text.empty(); ++line) {
    const size_t end = text.find('\n');
    const std::string_view one = text.substr(0, end);
    if (one.find_first_not_of(" \t\r") != std::string_view::npos) {
      CANDOR_ASSIGN(const bool more, TakeRecord(one, fmt::format("{}:{}", path, line), take));
      if (!more) return {};
    }
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
  }
  return {};
}

// Where the value that begins at `at` ends: behind its closing bracket. npos: the text ends first.
size_t EndOfValue(std::string_view text, size_t at) {
  int depth = 0;
  for (bool quoted = false; at < text.size(); ++at) {
    const char c = text[at];
    if (quoted) {
      if (c == '\\')
        ++at;
      else if (c == '"')
        quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '{' || c == '[') {
      ++depth;
    } else if ((c == '}' || c == ']') && --depth == 0) {
      return at + 1;
    }
  }
  return std::string_view::npos;
}

Status TakeArray(std::string_view text, size_t at, const std::string& path, const RecordTaker& take) {
  int64_t line = 1, record = 0;
  const auto skip_to = [&](size_t end) {
    for (; at < end; ++at) line += text[at] == '\n';
  };
  const auto here = [&] { return fmt::format("{}:{}, record {}", path, line, record); };
  skip_to(at + 1);
  for (;;) {
    while (at < text.size() && (IsJsonSpace(text[at]) || text[at] == ',')) skip_to(at + 1);
    if (at < text.size() && text[at] == ']') return {};
    ++record;
    if (at < text.size() && text[at] != '{')
      return Fail(ErrorCode::kInvalidInput, "not a JSON object", here(), "the array holds one object per record");
    const size_t end = EndOfValue(text, at);
    if (end == std::string_view::npos)
      return Fail(ErrorCode::kInvalidInput, "the file ends within a record", here(), "it was cut off: download it again");
    CANDOR_ASSIGN(const bool more, TakeRecord(text.substr(at, end - at), here(), take));
    if (!more) return {};
    skip_to(end);
  }
}

}  // namespace

Status ForEachRecord(const std::string& path, const RecordTaker& take) {
  if (path.ends_with(".parquet"))
    return Fail(ErrorCode::kInvalidInput, "Parquet is not read", path,
                "write it as JSON lines first: python3 -c \"import pandas; pandas.read_parquet('" + path +
                    "').to_json('rows.jsonl', orient='records', lines=True)\"");
  if (!FileExists(path)) return Fail(ErrorCode::kNotFound, "there is no such file", path, "check the path");
  CANDOR_ASSIGN(const std::string text, ReadFile(path, kMaxPublicFileBytes));
  size_t at = 0;
  while (at < text.size() && IsJsonSpace(text[at])) ++at;
  if (at == text.size()) return Fail(ErrorCode::kInvalidInput, "the file is empty", path, "download it again");
  return text[at] == '[' ? TakeArray(text, at, path, take) : TakeLines(text, path, take);
}

const RecordJson* RecordFields::Find(const std::string& field) const {
  const auto it = record_.find(field);
  return it == record_.end() || it->is_null() ? nullptr : &*it;
}

tl::unexpected<Error> RecordFields::Bad(const std::string& field, const std::string& problem, const std::string& fix) const {
  return Fail(ErrorCode::kInvalidInput, "field \"" + field + "\" " + problem, where_, fix);
}

Result<std::string> RecordFields::Text(const std::string& field, const std::string& fix) const {
  const RecordJson* value = Find(field);
  if (!value) return Bad(field, "is missing", fix);
  if (!value->is_string()) return Bad(field, "is not text", fix);
  if (value->get_ref<const std::string&>().empty()) return Bad(field, "is empty", fix);
  return value->get<std::string>();
}

Result<std::string> RecordFields::TextIfAny(const std::string& field) const {
  const RecordJson* value = Find(field);
  if (!value) return std::string();
  if (!value->is_string()) return Bad(field, "is not text", "leave it out, or give a text");
  return value->get<std::string>();
}

Result<std::optional<double>> RecordFields::NumberIfAny(const std::string& field) const {
  const RecordJson* value = Find(field);
  if (!value) return std::optional<double>();
  if (!value->is_number()) return Bad(field, "is not a number", "give a number or null");
  return std::optional<double>(value->get<double>());
}

std::optional<std::vector<std::string>> TextsOf(const RecordJson& value) {
  if (!value.is_array()) return std::nullopt;
  std::vector<std::string> texts;
  for (const RecordJson& one : value) {
    if (!one.is_string()) return std::nullopt;
    texts.push_back(one.get<std::string>());
  }
  return texts;
}

}  // namespace candor
