// The small JSON files beside a model's weights (tokenizer_config.json, generation_config.json, ...), any of which may be missing.
#pragma once
#include <string>

#include "core/fs.h"
#include "core/json_depth.h"
#include "core/result.h"

namespace candor {

inline constexpr size_t kMaxConfigBytes = size_t{64} << 20;

// The object in the file; an empty one where there is no file. Its keys are sorted: an ordered_json of a strange file may take minutes.
template <typename Json>
Result<Json> ReadOptionalObject(const std::string& path) {
  if (!FileExists(path)) return Json::object();
  CANDOR_ASSIGN(const std::string bytes, ReadFile(path, kMaxConfigBytes));
  if (BracketDepth(bytes) > kMaxJsonDepth)
    return Fail(ErrorCode::kInvalidInput, "nested too deeply", path, "restore the file from the model's source");
  Json json = Json::parse(bytes, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) return Fail(ErrorCode::kInvalidInput, "not a JSON object", path, "restore the file from the model's source");
  return json;
}

}  // namespace candor
