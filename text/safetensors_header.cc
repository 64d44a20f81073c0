// Maps a file, lets the Rust crate check its header, and reads the checked index; see safetensors_header.h.
#include "text/safetensors_header.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <unordered_set>

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

// The names of the header's entries: each only once. Nested values are passed over.
class EntryNames : public nlohmann::json_sax<nlohmann::json> {
 public:
  const std::string& doubled() const { return doubled_; }
  bool key(string_t& name) override {
    if (depth_ == 1 && !names_.insert(name).second) doubled_ = name;
    return doubled_.empty();
  }
  bool start_object(size_t) override { return ++depth_, true; }
  bool end_object() override { return --depth_, true; }
  bool start_array(size_t) override { return ++depth_, true; }
  bool end_array() override { return --depth_, true; }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(number_integer_t) override { return true; }
  bool number_unsigned(number_unsigned_t) override { return true; }
  bool number_float(number_float_t, const string_t&) override { return true; }
  bool string(string_t&) override { return true; }
  bool binary(binary_t&) override { return true; }
  bool parse_error(size_t, const std::string&, const nlohmann::detail::exception&) override { return false; }

 private:
  int depth_ = 0;
  std::unordered_set<std::string> names_;
  std::string doubled_;
};

// torch.save's: a pickle of protocol 2 to 5 or a zip of them. As the length of a header neither fits its file.
bool IsPickle(std::string_view file) {
  const bool zip = file.starts_with("PK\x03\x04");
  const bool pickle = file.size() > 2 && file[0] == '\x80' && file[1] >= 2 && file[1] <= 5;
  uint64_t length = 0;
  if (file.size() >= sizeof length) std::memcpy(&length, file.data(), sizeof length);
  return (zip || pickle) && length > file.size();
}

// What the crate lets pass: readers that take the first of two entries and readers that take the last would see different weights.
Status CheckHeaderText(std::string_view file, const std::string& name) {
  constexpr const char* kFix = "write the file again with a safetensors library";
  uint64_t length = 0;
  std::memcpy(&length, file.data(), sizeof length);  // little endian, as every machine that Candor runs on
  const std::string_view header = file.substr(sizeof length, length);
  if (!header.starts_with('{')) return Fail(ErrorCode::kInvalidInput, "the safetensors header does not begin with {", name, kFix);
  EntryNames names;
  nlohmann::json::sax_parse(header.begin(), header.end(), &names);
  if (names.doubled().empty()) return {};
  return Fail(ErrorCode::kInvalidInput, "the safetensors header has two entries \"" + names.doubled().substr(0, 100) + "\"", name, kFix);
}

}  // namespace

Result<std::vector<TensorEntry>> ReadSafetensorsIndex(const std::string& path) {
  MappedFile file;
  CANDOR_TRY(file.Open(path));
  return ParseSafetensorsIndex({reinterpret_cast<const char*>(file.data()), file.size()}, path);
}

Result<std::vector<TensorEntry>> ParseSafetensorsIndex(std::string_view file, const std::string& name) {
  if (IsPickle(file))
    return Fail(ErrorCode::kInvalidInput, "this is a pickle of PyTorch, which can run code when it is read", name,
                "only safetensors are read: convert it where you trust it, with safetensors.torch.save_file");
  RustBytes out;
  RustBytes error;
  if (candor_safetensors_index(reinterpret_cast<const uint8_t*>(file.data()), file.size(), out.out(), error.out()) != 0) {
    return Fail(ErrorCode::kInvalidInput, "the safetensors header is not valid: " + error.str(), name,
                "the file is truncated or damaged: copy or download it again");
  }
  if (Status sound = CheckHeaderText(file, name); !sound) return Fail(sound.error());
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
