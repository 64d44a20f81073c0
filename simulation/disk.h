// The run's file system in memory, behind core/disk.h. What was not synced (bytes by Write, names by SyncFolder) is lost or torn when the
// power of a folder's machine fails; operations can be refused for lack of space.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "core/disk.h"
#include "simulation/dice.h"

namespace candor::sim {

class SimDisk final : public Disk {
 public:
  explicit SimDisk(uint64_t seed) : dice_(seed, 2) {}

  Result<std::string> Read(const std::string& path, size_t max_bytes) override;
  Status Write(const std::string& path, std::string_view bytes, bool sync) override;
  Status Append(const std::string& path, std::string_view bytes) override;
  Status Rename(const std::string& from, const std::string& to) override;
  Status Link(const std::string& from, const std::string& to) override;
  void Remove(const std::string& path) override;
  Status SyncFolder(const std::string& folder) override;
  Status MakeFolders(const std::string&) override { return {}; }
  bool Exists(const std::string& path) override;
  Result<std::vector<std::string>> List(const std::string& folder) override;
  std::string TemporaryName(const std::string& path) override { return path + ".tmp." + std::to_string(++temporaries_); }

  // Before every operation that changes something; may throw Killed, or say what is wrong (disk full).
  std::function<Status(const char* operation, const std::string& path)> before;
  // Is this file, with these bytes, there after any power failure?
  bool IsDurable(const std::string& path) const;
  void LosePower(const std::string& folder);

  // Deliberately broken: syncs of files under this folder do nothing; epoch files look absent.
  std::string sabotage_no_sync;
  bool sabotage_blind_to_epochs = false;

 private:
  struct File {
    std::string bytes, durable;
    bool synced = false;
  };
  struct Folder {
    std::map<std::string, std::shared_ptr<File>> names, durable;  // shared: links, and two views of one file
    std::set<std::string> changed;
  };
  static std::pair<std::string, std::string> Split(const std::string& path);
  std::shared_ptr<File> Find(const std::string& path) const;
  Status Ask(const char* operation, const std::string& path) { return before ? before(operation, path) : Status{}; }
  bool Broken(const std::string& path) const { return !sabotage_no_sync.empty() && path.find(sabotage_no_sync) != std::string::npos; }

  Dice dice_;
  std::map<std::string, Folder> folders_;
  uint64_t temporaries_ = 0;
};

}  // namespace candor::sim
