// Records of a public data file, one at a time: JSON lines, or one JSON array of objects, however it is broken into lines. Files of half a
// gigabyte on a single line are usual, so that a place is named by line and record. A bad record is an error; nothing is skipped.
#pragma once
#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

// `where`: "path:line" of a JSON line, "path:line, record 17" within an array (the first is 1). false: enough.
using RecordTaker = std::function<Result<bool>(const nlohmann::ordered_json& record, const std::string& where)>;
Status ForEachRecord(const std::string& path, const RecordTaker& take);

// One record's members, with errors that name place and field.
class RecordFields {
 public:
  RecordFields(const nlohmann::ordered_json& record, const std::string& where) : record_(record), where_(where) {}
  // nullptr where it is missing or null.
  const nlohmann::ordered_json* Find(const std::string& field) const;
  // A text that is not empty.
  Result<std::string> Text(const std::string& field, const std::string& fix) const;
  // "" where it is missing or null.
  Result<std::string> TextIfAny(const std::string& field) const;
  // nullopt where it is missing or null.
  Result<std::optional<double>> NumberIfAny(const std::string& field) const;
  tl::unexpected<Error> Bad(const std::string& field, const std::string& problem, const std::string& fix) const;

 private:
  const nlohmann::ordered_json& record_;
  const std::string& where_;
};

// A list of texts; nullopt if `value` is anything else.
std::optional<std::vector<std::string>> TextsOf(const nlohmann::ordered_json& value);

}  // namespace candor
