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
#include <utility>

#include "core/disk.h"
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
  // A network file system may tell only here that it could not write.
  bool Close() { return ::close(std::exchange(fd_, -1)) == 0; }

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

Status WriteWhole(const std::string& path, std::string_view bytes, bool durable) {
  Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
  if (fd.get() < 0) return SystemError("cannot create", path);
  CANDOR_TRY(WriteAll(fd.get(), bytes, path));
  if (durable && ::fsync(fd.get()) != 0) return SystemError("cannot sync", path);
  if (!fd.Close()) return SystemError("cannot write", path);
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

namespace {

class SystemDiskImpl final : public Disk {
 public:
  Result<std::string> Read(const std::string& path, size_t max_bytes) override { return ReadFile(path, max_bytes); }
  Status Write(const std::string& path, std::string_view bytes, bool sync) override { return WriteWhole(path, bytes, sync); }
  Status Append(const std::string& path, std::string_view bytes) override {
    Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (fd.get() < 0) return SystemError("cannot open for appending", path);
    CANDOR_TRY(WriteAll(fd.get(), bytes, path));
    if (!fd.Close()) return SystemError("cannot write", path);
    return {};
  }
  Status Rename(const std::string& from, const std::string& to) override {
    if (::rename(from.c_str(), to.c_str()) != 0) return SystemError("cannot rename onto", to);
    return {};
  }
  Status Link(const std::string& from, const std::string& to) override {
    if (::link(from.c_str(), to.c_str()) == 0) return {};
    if (errno == EEXIST) return Fail(ErrorCode::kUnavailable, "somebody else created it first", to);
    return SystemError("cannot link", to);
  }
  void Remove(const std::string& path) override { ::unlink(path.c_str()); }
  Status SyncFolder(const std::string& folder) override { return candor::SyncFolder(folder); }
  Status MakeFolders(const std::string& folder) override { return candor::MakeFolders(folder); }
  bool Exists(const std::string& path) override { return FileExists(path); }
  Result<std::vector<std::string>> List(const std::string& folder) override {
    std::vector<std::string> names;
    std::error_code error;
    for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error))
      names.push_back(at->path().filename().string());
    if (error && error != std::errc::no_such_file_or_directory)
      return Fail(ErrorCode::kIo, "cannot list the folder: " + error.message(), folder);
    return names;
  }
  std::string TemporaryName(const std::string& path) override {
    return fmt::format("{}.tmp.{}.{}.{}", path, ProcessToken(), ::getpid(), ::gettid());  // a forked child has our token
  }
};

}  // namespace

Disk& SystemDisk() {
  static SystemDiskImpl disk;
  return disk;
}

Status WriteFileAtomic(Disk& disk, const std::string& path, std::string_view bytes, bool durable) {
  const std::string temporary = disk.TemporaryName(path);
  if (Status written = disk.Write(temporary, bytes, durable); !written) {
    disk.Remove(temporary);
    return written;
  }
  if (Status renamed = disk.Rename(temporary, path); !renamed) {
    disk.Remove(temporary);
    return renamed;
  }
  return durable ? disk.SyncFolder(Parent(path)) : Status{};
}

Status WriteFileAtomic(const std::string& path, std::string_view bytes, bool durable) {
  return WriteFileAtomic(SystemDisk(), path, bytes, durable);
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

Status CreateExclusive(Disk& disk, const std::string& path, std::string_view bytes) {
  const std::string temporary = disk.TemporaryName(path);
  if (Status written = disk.Write(temporary, bytes, true); !written) {
    disk.Remove(temporary);
    return written;
  }
  const Status linked = disk.Link(temporary, path);
  disk.Remove(temporary);
  return linked ? disk.SyncFolder(Parent(path)) : linked;
}

Status CreateExclusive(const std::string& path, std::string_view bytes) { return CreateExclusive(SystemDisk(), path, bytes); }

}  // namespace candor
