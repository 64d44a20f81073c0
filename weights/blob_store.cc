#include "weights/blob_store.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>

namespace candor {

Result<std::shared_ptr<const OpenFile>> OpenFile::Open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return Fail(errno == ENOENT ? ErrorCode::kNotFound : ErrorCode::kIo, std::string("cannot open: ") + std::strerror(errno), path);
  return std::shared_ptr<const OpenFile>(new OpenFile(fd, path));
}

OpenFile::~OpenFile() { ::close(fd_); }

Result<std::string> OpenFile::Read(uint64_t at, uint64_t bytes) const {
  std::string buffer(bytes, '\0');
  for (uint64_t done = 0; done < bytes;) {
    const ssize_t got = ::pread(fd_, buffer.data() + done, bytes - done, static_cast<off_t>(at + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0)
      return Fail(
          ErrorCode::kIo,
          "reading stopped at byte " + std::to_string(at + done) + (got < 0 ? std::string(": ") + std::strerror(errno) : ", the end"),
          path_);
    done += static_cast<uint64_t>(got);
  }
  return buffer;
}

void BlobStore::Put(const std::string& hash, PolicyVersion version, StoredBlob blob) {
  const std::scoped_lock lock(mutex_);
  Entry& entry = entries_[hash];
  entry.version = std::max(entry.version, version);
  entry.blob = std::move(blob);
  changed_.notify_all();
}

std::optional<StoredBlob> BlobStore::Find(const std::string& hash, int wait_ms) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::milliseconds(wait_ms), [&] { return closed_ || entries_.count(hash) > 0; });
  const auto at = entries_.find(hash);
  if (closed_ || at == entries_.end()) return std::nullopt;
  return at->second.blob;
}

void BlobStore::DropBelow(PolicyVersion version) {
  const std::scoped_lock lock(mutex_);
  std::erase_if(entries_, [&](const auto& entry) { return entry.second.version < version; });
}

void BlobStore::Close() {
  const std::scoped_lock lock(mutex_);
  closed_ = true;
  changed_.notify_all();
}

size_t BlobStore::size() const {
  const std::scoped_lock lock(mutex_);
  return entries_.size();
}

}  // namespace candor
