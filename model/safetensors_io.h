// Safetensors in and out: 8 bytes of little-endian header length, a JSON header, raw buffers. Reading maps the file and never trusts it
// (the header is checked by the format's own crate, text/); writing streams tensor after tensor into a temporary file that is synced and
// renamed.
#pragma once
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"
#include "model/aten.h"

namespace candor {

// One mapped file. Tensors are views of the mapping: keep the reader alive while they are used, and do not write to them.
class SafetensorsFile {
 public:
  static Result<std::unique_ptr<SafetensorsFile>> Open(const std::string& path, bool follow_links = true);
  ~SafetensorsFile();
  SafetensorsFile(const SafetensorsFile&) = delete;
  SafetensorsFile& operator=(const SafetensorsFile&) = delete;
  const std::string& path() const { return path_; }
  const std::map<std::string, at::Tensor>& tensors() const { return tensors_; }

 private:
  SafetensorsFile() = default;
  std::string path_;
  void* data_ = nullptr;
  size_t size_ = 0;
  std::map<std::string, at::Tensor> tensors_;
};

// The files of a model folder: model.safetensors, or what model.safetensors.index.json lists.
Result<std::vector<std::string>> SafetensorsFilesOf(const std::string& folder);

struct SafetensorsEntry {
  std::string name;
  at::ScalarType dtype = at::kFloat;
  std::vector<int64_t> shape;
  size_t Bytes() const;
};

// Writes one file: names, formats and shapes first, then the data of each entry in the same order.
class SafetensorsWriter {
 public:
  // `metadata` goes to __metadata__ ("format": "pt" is always there).
  static Result<std::unique_ptr<SafetensorsWriter>> Create(const std::string& path, std::vector<SafetensorsEntry> entries,
                                                           std::map<std::string, std::string> metadata = {});
  ~SafetensorsWriter();                                // an unfinished file is removed
  Status Append(const at::Tensor& tensor);             // the next entry; the shape and format must be as announced
  Status AppendBytes(const void* data, size_t bytes);  // part of the next entries' data
  Status Finish();                                     // fsync, rename

 private:
  SafetensorsWriter() = default;
  std::string path_, temporary_;
  std::vector<SafetensorsEntry> entries_;
  size_t next_ = 0, expected_bytes_ = 0, written_bytes_ = 0;
  int fd_ = -1;
};

// One file, whole.
Status WriteSafetensors(const std::string& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors);

}  // namespace candor
