// Maps a file, lets the Rust crate check its header, and reads the checked index; see safetensors_header.h.
#include "text/safetensors_header.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "text/rust_interface.h"

namespace candor {
namespace {

using text::RustBytes;

// A read-only mapping of a whole file; only the pages that are touched are read.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (data_ != MAP_FAILED) munmap(data_, size_);
    if (fd_ >= 0) close(fd_);
  }

  Status Open(const std::string& path) {
    fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd_ < 0) return SystemError(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, "cannot open the file", path);
    struct stat info {};
    if (fstat(fd_, &info) != 0) return SystemError(ErrorCode::kIo, "cannot stat the file", path);
    if (!S_ISREG(info.st_mode)) return Fail(ErrorCode::kInvalidInput, "not a file", path, "name a .safetensors file");
    size_ = static_cast<size_t>(info.st_size);
    if (size_ < kSmallest) {
      return Fail(ErrorCode::kInvalidInput, "only " + std::to_string(size_) + " bytes: too short for a safetensors header", path,
                  "copy or download the file again");
    }
    data_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, fd_, 0);
    if (data_ == MAP_FAILED) return SystemError(ErrorCode::kIo, "cannot map the file", path);
    return {};
  }
  const uint8_t* data() const { return static_cast<const uint8_t*>(data_); }
  size_t size() const { return size_; }

 private:
  static constexpr size_t kSmallest = 8 + 2;  // length and "{}"

  static tl::unexpected<Error> SystemError(ErrorCode code, const std::string& what, const std::string& path) {
    return Fail(code, what + ": " + std::strerror(errno), path);
  }

  int fd_ = -1;
  size_t size_ = 0;
  void* data_ = MAP_FAILED;
};

}  // namespace

Result<std::vector<TensorEntry>> ReadSafetensorsIndex(const std::string& path) {
  MappedFile file;
  CANDOR_TRY(file.Open(path));
  RustBytes out;
  RustBytes error;
  if (candor_safetensors_index(file.data(), file.size(), out.out(), error.out()) != 0) {
    return Fail(ErrorCode::kInvalidInput, "the safetensors header is not valid: " + error.str(), path,
                "the file is truncated or damaged: copy or download it again");
  }
  const nlohmann::json index = nlohmann::json::parse(out.view(), nullptr, /*allow_exceptions=*/false);
  std::vector<TensorEntry> entries;
  for (const auto& item : index) {
    TensorEntry entry;
    entry.name = item["name"].get<std::string>();
    entry.dtype = item["dtype"].get<std::string>();
    for (const auto& size : item["shape"]) entry.shape.push_back(size.get<int64_t>());
    entry.begin = item["begin"].get<int64_t>();
    entry.end = item["end"].get<int64_t>();
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace candor
