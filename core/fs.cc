#include "core/fs.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "core/launch.h"

namespace candor {

namespace {

tl::unexpected<Error> SystemError(const std::string& what, const std::string& path) {
  int number = errno;
  ErrorCode code = number == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo;
  std::string fix = number == ENOSPC ? "free some space on this file system" : number == EACCES ? "check who owns it" : "";
  return Fail(code, fmt::format("{}: {}", what, std::strerror(number)), path, fix);
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::string Parent(const std::string& path) {
  std::string parent = std::filesystem::path(path).parent_path().string();
  return parent.empty() ? "." : parent;
}

Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    ssize_t n = ::write(fd, bytes.data(), bytes.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError("cannot write", path);
    bytes.remove_prefix(static_cast<size_t>(n));
  }
  return {};
}

std::string TemporaryName(const std::string& path) {
  return fmt::format("{}.tmp.{}.{}.{}", path, ProcessToken(), ::getpid(), ::gettid());  // a forked child has our token
}

Status WriteTemporary(const std::string& temporary, std::string_view bytes, bool durable) {
  Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (fd.get() < 0) return SystemError("cannot create", temporary);
  CANDOR_TRY(WriteAll(fd.get(), bytes, temporary));
  if (durable && ::fsync(fd.get()) != 0) return SystemError("cannot sync", temporary);
  return {};
}

std::string Hex(XXH128_hash_t hash) { return fmt::format("{:016x}{:016x}", hash.high64, hash.low64); }

}  // namespace

Result<std::string> ReadFile(const std::string& path, size_t max_bytes) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return SystemError("cannot open", path);
  struct stat info {};
  if (::fstat(fd.get(), &info) != 0) return SystemError("cannot stat", path);
  if (S_ISDIR(info.st_mode)) return Fail(ErrorCode::kInvalidInput, "is a folder, not a file", path);
  if (static_cast<size_t>(info.st_size) > max_bytes)
    return Fail(ErrorCode::kInvalidInput, fmt::format("{} bytes, more than the {} allowed here", info.st_size, max_bytes), path);
  std::string bytes;
  bytes.reserve(static_cast<size_t>(info.st_size));
  char buffer[1 << 16];
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return SystemError("cannot read", path);
    if (n == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(n));
    if (bytes.size() > max_bytes)
      return Fail(ErrorCode::kInvalidInput, fmt::format("more than the {} bytes allowed here", max_bytes), path);
  }
}

Status WriteFileAtomic(const std::string& path, std::string_view bytes, bool durable) {
  std::string temporary = TemporaryName(path);
  if (Status written = WriteTemporary(temporary, bytes, durable); !written) {
    ::unlink(temporary.c_str());
    return written;
  }
  if (::rename(temporary.c_str(), path.c_str()) != 0) return SystemError("cannot rename onto", path);
  return durable ? SyncFolder(Parent(path)) : Status{};
}

Status MakeFolders(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) return Fail(ErrorCode::kIo, "cannot create the folder: " + error.message(), path);
  return {};
}

Status SyncFolder(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return SystemError("cannot open the folder", path);
  if (::fsync(fd.get()) != 0) return SystemError("cannot sync the folder", path);
  return {};
}

Status RemoveTree(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) return Fail(ErrorCode::kIo, "cannot remove: " + error.message(), path);
  return {};
}

bool IsPlainFileName(std::string_view name) {
  constexpr size_t kMaxName = 255;
  const bool sound =
      std::none_of(name.begin(), name.end(), [](char c) { return c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
  return sound && !name.empty() && name.size() <= kMaxName && name != "." && name != "..";
}

bool FileExists(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::exists(path, ignored);
}

std::string HashHex(std::string_view bytes) { return Hex(XXH3_128bits(bytes.data(), bytes.size())); }

Result<std::string> HashFileHex(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return SystemError("cannot open", path);
  XXH3_state_t* state = XXH3_createState();
  XXH3_128bits_reset(state);
  std::string buffer(1 << 20, '\0');
  for (;;) {
    ssize_t n = ::read(fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) {
      XXH128_hash_t hash = XXH3_128bits_digest(state);
      XXH3_freeState(state);
      if (n < 0) return SystemError("cannot read", path);
      return Hex(hash);
    }
    XXH3_128bits_update(state, buffer.data(), static_cast<size_t>(n));
  }
}

Status CreateExclusive(const std::string& path, std::string_view bytes) {
  std::string temporary = TemporaryName(path);
  CANDOR_TRY(WriteTemporary(temporary, bytes, true));
  int result = ::link(temporary.c_str(), path.c_str());
  int number = errno;
  ::unlink(temporary.c_str());
  if (result == 0) return SyncFolder(Parent(path));
  errno = number;
  if (number == EEXIST) return Fail(ErrorCode::kUnavailable, "somebody else created it first", path);
  return SystemError("cannot link", path);
}

}  // namespace candor
