// The coordinator's stores in memory, behind coordinator/store.h: a batch is there whole or not at all, and durable when Write returns.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "coordinator/store.h"

namespace candor::sim {

class SimStores final : public StoreHome {
 public:
  Result<std::unique_ptr<Store>> OpenForWriting(const std::string& folder) override;
  Result<std::unique_ptr<Store>> OpenAsReader(const std::string& folder) override;
  Status Remove(const std::string& folder) override;
  std::vector<uint64_t> Numbers(const std::string& parent) override;

  // Around every write: `before` may throw Killed (nothing is written) or refuse; `after` may throw too (written, never acknowledged).
  std::function<Status()> before;
  std::function<void(const std::string& folder, const StoreBatch& batch)> after;
  // The machine of the coordinator loses power: with sabotage_no_sync the last batches are gone.
  void LosePower();

  // Deliberately broken: batches are acknowledged before they are synced; batches are changed on their way.
  bool sabotage_no_sync = false;
  std::function<void(StoreBatch&)> sabotage;

 private:
  friend class SimStore;
  using Undo = std::vector<std::pair<std::string, std::optional<std::string>>>;
  struct Data {
    std::map<std::string, std::string, std::less<>> rows;
    std::deque<Undo> unsynced;
  };
  static void Put(std::map<std::string, std::string, std::less<>>& rows, const StoreBatch& batch);
  std::map<std::string, std::shared_ptr<Data>> stores_;  // shared with open handles: a removed store may still be read
};

}  // namespace candor::sim
