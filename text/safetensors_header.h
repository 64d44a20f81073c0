// The validated header of a .safetensors file: which tensor lies where. Checked by the `safetensors` crate: offsets cover the data without
// holes or overlaps, sizes fit shapes and types, and the file is as long as the header says. Mapping the bytes is the caller's business
// (model/).
//
// Format: https://huggingface.co/docs/safetensors/index#format (8-byte little-endian header length, JSON header, data).
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace candor {

struct TensorEntry {
  std::string name;
  std::string dtype;           // as in the file: "F32", "F16", "BF16", "I64", ...
  std::vector<int64_t> shape;  // empty for a scalar
  int64_t begin = 0;           // byte offsets from the start of the file
  int64_t end = 0;
};

// Sorted by begin. Any thread. Reads only the header, whatever the file's size.
Result<std::vector<TensorEntry>> ReadSafetensorsIndex(const std::string& path);
// The same of a whole file in memory; `name` is used in errors.
Result<std::vector<TensorEntry>> ParseSafetensorsIndex(std::string_view file, const std::string& name);

}  // namespace candor
