// Maps and writes safetensors files.
#include "model/safetensors_io.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "core/check.h"
#include "core/fs.h"
#include "core/json_depth.h"
#include "text/safetensors_header.h"

namespace candor {
namespace {

Result<at::ScalarType> ScalarTypeOf(const std::string& dtype, const std::string& where) {
  if (dtype == "F32") return at::kFloat;
  if (dtype == "BF16") return at::kBFloat16;
  if (dtype == "F16") return at::kHalf;
  if (dtype == "F64") return at::kDouble;
  if (dtype == "I64") return at::kLong;
  if (dtype == "I32") return at::kInt;
  if (dtype == "U8") return at::kByte;
  return Fail(ErrorCode::kInvalidInput, "number format " + dtype + " is not supported", where, "save the model in bfloat16 or float32");
}

const char* NameOf(at::ScalarType type) {
  switch (type) {
    case at::kFloat:
      return "F32";
    case at::kBFloat16:
      return "BF16";
    case at::kHalf:
      return "F16";
    case at::kDouble:
      return "F64";
    case at::kLong:
      return "I64";
    case at::kInt:
      return "I32";
    case at::kByte:
      return "U8";
    default:
      return nullptr;
  }
}

tl::unexpected<Error> IoError(const std::string& what, const std::string& path) {
  return Fail(ErrorCode::kIo, what + ": " + std::strerror(errno), path);
}

// Everything or an error: write(2) may take less than it is given.
Status WriteAll(int fd, const char* data, size_t bytes, const std::string& path) {
  while (bytes > 0) {
    const ssize_t written = ::write(fd, data, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return IoError("cannot write", path);
    data += written;
    bytes -= static_cast<size_t>(written);
  }
  return {};
}

std::string HeaderOf(const std::vector<SafetensorsEntry>& entries, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header;
  header["__metadata__"] = {{"format", "pt"}};
  for (const auto& [key, value] : metadata) header["__metadata__"][key] = value;
  size_t offset = 0;
  for (const SafetensorsEntry& entry : entries) {
    header[entry.name] = {{"dtype", NameOf(entry.dtype)}, {"shape", entry.shape}, {"data_offsets", {offset, offset + entry.Bytes()}}};
    offset += entry.Bytes();
  }
  std::string text = header.dump();
  text.append((8 - text.size() % 8) % 8, ' ');
  return text;
}

}  // namespace

size_t SafetensorsEntry::Bytes() const {
  size_t bytes = c10::elementSize(dtype);
  for (int64_t extent : shape) bytes *= static_cast<size_t>(extent);
  return bytes;
}

SafetensorsFile::~SafetensorsFile() {
  tensors_.clear();
  if (data_) ::munmap(data_, size_);
}

Result<std::unique_ptr<SafetensorsFile>> SafetensorsFile::Open(const std::string& path, bool follow_links) {
  CANDOR_ASSIGN(const std::vector<TensorEntry> index, ReadSafetensorsIndex(path));
  std::unique_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->path_ = path;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | (follow_links ? 0 : O_NOFOLLOW));
  if (fd < 0) return IoError("cannot open", path);
  struct stat info = {};
  if (::fstat(fd, &info) != 0) {
    ::close(fd);
    return IoError("cannot stat", path);
  }
  file->size_ = static_cast<size_t>(info.st_size);
  void* data = ::mmap(nullptr, file->size_, PROT_READ, MAP_PRIVATE, fd, 0);
  ::close(fd);
  if (data == MAP_FAILED) return IoError("cannot map", path);
  file->data_ = data;
  for (const TensorEntry& entry : index) {
    CANDOR_ASSIGN(const at::ScalarType type, ScalarTypeOf(entry.dtype, path + ": " + entry.name));
    if (!(0 <= entry.begin && entry.begin <= entry.end && static_cast<size_t>(entry.end) <= file->size_)) {
      return Fail(ErrorCode::kInvalidInput, "tensor '" + entry.name + "' lies outside the file", path,
                  "the file changed while it was read");
    }
    char* begin = static_cast<char*>(file->data_) + entry.begin;
    at::Tensor tensor = at::from_blob(begin, entry.shape, at::TensorOptions().dtype(type));
    file->tensors_.emplace(entry.name, tensor);
  }
  return file;
}

Result<std::vector<std::string>> SafetensorsFilesOf(const std::string& folder) {
  const std::string single = folder + "/model.safetensors", index_path = folder + "/model.safetensors.index.json";
  if (::access(index_path.c_str(), F_OK) != 0) {
    if (::access(single.c_str(), F_OK) == 0) return std::vector<std::string>{single};
    return Fail(ErrorCode::kNotFound, "no weights in the model folder", single,
                "a model folder holds model.safetensors, or shards with model.safetensors.index.json");
  }
  constexpr size_t kMaxIndexBytes = size_t{256} << 20;
  CANDOR_ASSIGN(const std::string text, ReadFile(index_path, kMaxIndexBytes));
  if (BracketDepth(text) > kMaxJsonDepth) return Fail(ErrorCode::kInvalidInput, "the index is nested too deeply", index_path);
  const nlohmann::json index = nlohmann::json::parse(text, nullptr, false);
  if (!index.is_object() || !index.contains("weight_map") || !index["weight_map"].is_object()) {
    return Fail(ErrorCode::kInvalidInput, "the index has no 'weight_map' object", index_path, "copy the model again");
  }
  std::set<std::string> names;
  for (const auto& [tensor, file] : index["weight_map"].items()) {
    if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos) {
      return Fail(ErrorCode::kInvalidInput, "the index names a file that is not in the folder for tensor '" + tensor + "'", index_path);
    }
    names.insert(file.get<std::string>());
  }
  std::vector<std::string> files;
  for (const std::string& name : names) files.push_back(folder + "/" + name);
  return files;
}

Result<std::unique_ptr<SafetensorsWriter>> SafetensorsWriter::Create(const std::string& path, std::vector<SafetensorsEntry> entries,
                                                                     std::map<std::string, std::string> metadata) {
  for (const SafetensorsEntry& entry : entries) CANDOR_CHECK(NameOf(entry.dtype) != nullptr, "a number format that safetensors knows");
  std::unique_ptr<SafetensorsWriter> writer(new SafetensorsWriter);
  writer->path_ = path;
  writer->temporary_ = path + ".tmp." + std::to_string(::getpid());
  writer->fd_ = ::open(writer->temporary_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (writer->fd_ < 0) return IoError("cannot create", writer->temporary_);
  const std::string header = HeaderOf(entries, metadata);
  char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i));
  CANDOR_TRY(WriteAll(writer->fd_, length, sizeof length, writer->temporary_));
  CANDOR_TRY(WriteAll(writer->fd_, header.data(), header.size(), writer->temporary_));
  for (const SafetensorsEntry& entry : entries) writer->expected_bytes_ += entry.Bytes();
  writer->entries_ = std::move(entries);
  return writer;
}

SafetensorsWriter::~SafetensorsWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Status SafetensorsWriter::Append(const at::Tensor& tensor) {
  CANDOR_CHECK(
      next_ < entries_.size() && tensor.sizes() == at::IntArrayRef(entries_[next_].shape) && tensor.scalar_type() == entries_[next_].dtype,
      "as announced");
  ++next_;
  const at::Tensor contiguous = tensor.contiguous().cpu();  // from a device one tensor at a time
  return AppendBytes(contiguous.const_data_ptr(), contiguous.nbytes());
}

Status SafetensorsWriter::AppendBytes(const void* data, size_t bytes) {
  written_bytes_ += bytes;
  return WriteAll(fd_, static_cast<const char*>(data), bytes, temporary_);
}

Status SafetensorsWriter::Finish() {
  CANDOR_CHECK(written_bytes_ == expected_bytes_, "every announced tensor was written");
  if (::fsync(fd_) != 0) return IoError("cannot sync", temporary_);
  const int closed = ::close(std::exchange(fd_, -1));
  if (closed != 0 || ::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const auto error = IoError("cannot finish", path_);
    ::unlink(temporary_.c_str());
    return error;
  }
  return {};
}

Status WriteSafetensors(const std::string& path, const std::vector<std::pair<std::string, at::Tensor>>& tensors) {
  std::vector<SafetensorsEntry> entries;
  for (const auto& [name, tensor] : tensors) entries.push_back({name, tensor.scalar_type(), tensor.sizes().vec()});
  CANDOR_ASSIGN(const std::unique_ptr<SafetensorsWriter> writer, SafetensorsWriter::Create(path, std::move(entries)));
  for (const auto& [name, tensor] : tensors) CANDOR_TRY(writer->Append(tensor));
  return writer->Finish();
}

}  // namespace candor
