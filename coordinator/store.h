// A key-value store on disk with atomic, durable batches (RocksDB; the only file that includes it is store.cc). One writer per folder,
// ever; readers of a folder that somebody may be writing open it as a secondary, never read-only. Write belongs to one thread, Scan and Get
// may be called from any.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "core/result.h"

namespace candor {

struct StoreBatch {
  std::vector<std::pair<std::string, std::string>> puts;
  std::vector<std::pair<std::string, std::string>> delete_ranges;  // [from, to), before the puts
  bool empty() const { return puts.empty() && delete_ranges.empty(); }
};

class Store {
 public:
  virtual ~Store() = default;
  // The whole batch or nothing, on disk when it returns (write-ahead log synced).
  virtual Status Write(const StoreBatch& batch) = 0;
  virtual Result<std::optional<std::string>> Get(const std::string& key) const = 0;
  // Keys in [from, to) ascending; to = "" means to the end. `visit` returns false to stop.
  virtual Status Scan(const std::string& from, const std::string& to,
                      const std::function<bool(std::string_view key, std::string_view value)>& visit) const = 0;

  // Makes the folder when it is not there.
  static Result<std::unique_ptr<Store>> OpenForWriting(const std::string& folder);
  // What the folder's writer had made durable by now, dead or alive. Cannot be written.
  static Result<std::unique_ptr<Store>> OpenAsReader(const std::string& folder);
};

// Where stores are opened: RocksDB on the file system, or the simulation's memory. `folder` is RUN_DIR/ledger/<epoch>.
class StoreHome {
 public:
  virtual ~StoreHome() = default;
  virtual Result<std::unique_ptr<Store>> OpenForWriting(const std::string& folder) = 0;
  virtual Result<std::unique_ptr<Store>> OpenAsReader(const std::string& folder) = 0;
  virtual Status Remove(const std::string& folder) = 0;
  // Numbers N of the stores <parent>/N, ascending.
  virtual std::vector<uint64_t> Numbers(const std::string& parent) = 0;
};
StoreHome& RocksStores();

// Keys compare like the numbers they hold.
void AppendBigEndian(std::string& key, uint64_t value);
uint64_t ReadBigEndian(std::string_view bytes);  // the first eight
// The smallest key above all keys that start with `prefix`.
std::string AfterPrefix(std::string prefix);

}  // namespace candor
