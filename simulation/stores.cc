#include "simulation/stores.h"

#include <algorithm>
#include <charconv>

namespace candor::sim {

namespace {
constexpr size_t kUnsyncedMax = 8;  // batches that the broken store keeps in memory
}  // namespace

class SimStore final : public Store {
 public:
  SimStore(SimStores& home, std::string folder, std::shared_ptr<SimStores::Data> data, bool writes)
      : home_(home), folder_(std::move(folder)), data_(std::move(data)), writes_(writes) {}
  Status Write(const StoreBatch& asked) override {
    if (!writes_) return Fail(ErrorCode::kIo, "this store was opened by a reader", folder_);
    if (home_.before) CANDOR_TRY(home_.before());
    StoreBatch batch = asked;
    if (home_.sabotage) home_.sabotage(batch);
    if (home_.sabotage_no_sync) Remember(batch);
    SimStores::Put(data_->rows, batch);
    if (home_.after) home_.after(folder_, batch);
    return {};
  }
  Result<std::optional<std::string>> Get(const std::string& key) const override {
    auto at = data_->rows.find(key);
    if (at == data_->rows.end()) return std::nullopt;
    return at->second;
  }
  Status Scan(const std::string& from, const std::string& to,
              const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    for (auto at = data_->rows.lower_bound(from); at != data_->rows.end() && (to.empty() || at->first < to); ++at)
      if (!visit(at->first, at->second)) break;
    return {};
  }

 private:
  void Remember(const StoreBatch& batch) {
    SimStores::Undo undo;
    for (const auto& [key, value] : batch.puts) {
      auto old = data_->rows.find(key);
      undo.emplace_back(key, old == data_->rows.end() ? std::nullopt : std::optional(old->second));
    }
    data_->unsynced.push_back(std::move(undo));
    if (data_->unsynced.size() > kUnsyncedMax) data_->unsynced.pop_front();
  }
  SimStores& home_;
  const std::string folder_;
  const std::shared_ptr<SimStores::Data> data_;
  const bool writes_;
};

void SimStores::Put(std::map<std::string, std::string, std::less<>>& rows, const StoreBatch& batch) {
  for (const auto& [from, to] : batch.delete_ranges) rows.erase(rows.lower_bound(from), rows.lower_bound(to));
  for (const auto& [key, value] : batch.puts) rows[key] = value;
}

Result<std::unique_ptr<Store>> SimStores::OpenForWriting(const std::string& folder) {
  std::shared_ptr<Data>& data = stores_[folder];
  if (!data) data = std::make_shared<Data>();
  return std::make_unique<SimStore>(*this, folder, data, true);
}

Result<std::unique_ptr<Store>> SimStores::OpenAsReader(const std::string& folder) {
  auto at = stores_.find(folder);
  if (at == stores_.end()) return Fail(ErrorCode::kNotFound, "there is no store", folder);
  return std::make_unique<SimStore>(*this, folder, at->second, false);
}

Status SimStores::Remove(const std::string& folder) {
  stores_.erase(folder);
  return {};
}

std::vector<uint64_t> SimStores::Numbers(const std::string& parent) {
  std::vector<uint64_t> numbers;
  for (const auto& [folder, data] : stores_) {
    if (!folder.starts_with(parent + "/")) continue;
    uint64_t number = 0;
    const char* begin = folder.data() + parent.size() + 1;
    if (std::from_chars(begin, folder.data() + folder.size(), number).ec == std::errc()) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

void SimStores::LosePower() {
  for (auto& [folder, data] : stores_) {
    for (; !data->unsynced.empty(); data->unsynced.pop_back())
      for (const auto& [key, old] : data->unsynced.back()) {
        if (old)
          data->rows[key] = *old;
        else
          data->rows.erase(key);
      }
  }
}

}  // namespace candor::sim
