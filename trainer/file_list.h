// The files of a folder as a manifest lists them: name, size, XXH3-128. Checkpoints and published weights share the form:
//   "files": [{"name": "rank_0.safetensors", "bytes": 123, "chunks": [{"offset": 0, "bytes": 123, "hash": "<32 hex digits>"}, ...]}, ...]
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

struct FileChunk {
  uint64_t offset = 0, bytes = 0;
  std::string hash;
};
struct ListedFile {
  std::string name;
  uint64_t bytes = 0;
  std::vector<FileChunk> chunks;  // cover the file in order
};

inline constexpr uint64_t kChunkBytes = 16u << 20;

// Reads and hashes FOLDER/name.
Result<ListedFile> ListFile(const std::string& folder, const std::string& name);
// Size and every hash; the error names the file and the bytes.
Status VerifyListedFile(const std::string& folder, const ListedFile& file);
// One listed file as JSON text and back.
std::string ToJsonText(const ListedFile& file);
Result<ListedFile> ListedFileFromJson(const std::string& text, const std::string& where);

}  // namespace candor
