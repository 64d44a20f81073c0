// The blobs that this process can serve, by the hash of their bytes: the trainer's in its files, a rollout's in memory. A blob has no other
// name, so a request cannot lead anywhere else. Thread safe.
#pragma once
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_map>

#include "core/ids.h"
#include "core/result.h"

namespace candor {

using Bytes = std::shared_ptr<const std::string>;  // shared by the store, the image and whoever is sending it

// A file that stays readable after its folder was removed.
class OpenFile {
 public:
  static Result<std::shared_ptr<const OpenFile>> Open(const std::string& path);
  ~OpenFile();
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;
  int fd() const { return fd_; }
  // Exactly `bytes` from `at`.
  Result<std::string> Read(uint64_t at, uint64_t bytes) const;

 private:
  OpenFile(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  const int fd_;
  const std::string path_;
};

struct StoredBlob {
  Bytes memory;  // or, when null, a range of `file`
  std::shared_ptr<const OpenFile> file;
  uint64_t at = 0, bytes = 0;
};

class BlobStore {
 public:
  void Put(const std::string& hash, PolicyVersion version, StoredBlob blob);
  // Waits up to wait_ms for it to come; nullopt when it did not, or after Close.
  std::optional<StoredBlob> Find(const std::string& hash, int wait_ms);
  // Forgets blobs of versions below.
  void DropBelow(PolicyVersion version);
  // Ends all waits.
  void Close();
  size_t size() const;

 private:
  struct Entry {
    PolicyVersion version;
    StoredBlob blob;
  };
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::unordered_map<std::string, Entry> entries_;
  bool closed_ = false;
};

}  // namespace candor
