// The few things that the control plane does with files, behind an interface, so that the simulation can tear, lose and refuse them: whole
// files, renames, links and folders. SystemDisk is the operating system; simulation/sim_disk.h forgets what was not synced. What is careful
// about files (write, sync, rename, sync the folder) is written once, in fs.cc, on top of this.
//
// Thread rule: any thread.
#pragma once
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace candor {

class Disk {
 public:
  virtual ~Disk() = default;
  virtual Result<std::string> Read(const std::string& path, size_t max_bytes) = 0;
  // Creates or truncates; with `sync` the bytes are on the medium when it returns (the name is not until SyncFolder).
  virtual Status Write(const std::string& path, std::string_view bytes, bool sync) = 0;
  virtual Status Append(const std::string& path, std::string_view bytes) = 0;
  virtual Status Rename(const std::string& from, const std::string& to) = 0;
  // kUnavailable when `to` exists already.
  virtual Status Link(const std::string& from, const std::string& to) = 0;
  virtual void Remove(const std::string& path) = 0;
  virtual Status SyncFolder(const std::string& folder) = 0;
  virtual Status MakeFolders(const std::string& folder) = 0;
  virtual bool Exists(const std::string& path) = 0;
  // Names in a folder, in no order; empty when it does not exist.
  virtual Result<std::vector<std::string>> List(const std::string& folder) = 0;
  // A name next to `path` that nobody else writes at the same time.
  virtual std::string TemporaryName(const std::string& path) = 0;
};

Disk& SystemDisk();

// After it returns, the file holds all of `bytes` or what it held before, whatever dies.
Status WriteFileAtomic(Disk& disk, const std::string& path, std::string_view bytes, bool durable = true);
// Creates `path` holding `bytes` only if it does not exist yet, by link(2), which is atomic on shared file systems. kUnavailable when
// somebody else was first.
Status CreateExclusive(Disk& disk, const std::string& path, std::string_view bytes);

}  // namespace candor
