#include "coordinator/store.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <cstdlib>
#include <filesystem>

#include "core/epoch.h"
#include "core/fs.h"

namespace candor {

namespace {

tl::unexpected<Error> StoreError(const std::string& what, const rocksdb::Status& status, const std::string& where) {
  ErrorCode code = status.IsNotFound() || status.IsPathNotFound() ? ErrorCode::kNotFound : ErrorCode::kIo;
  std::string fix = status.IsNoSpace()      ? "free some space on this file system"
                    : status.IsCorruption() ? "the store is damaged: restore the run's folder from a copy"
                                            : "";
  return Fail(code, fmt::format("{}: {}", what, status.ToString()), where, fix);
}

constexpr size_t kBlockCacheBytes = size_t{512} << 10;  // what is read again and again is the last step, and that is not in a file yet

rocksdb::Options MakeOptions() {
  rocksdb::Options options;
  options.info_log_level = rocksdb::WARN_LEVEL;
  options.keep_log_file_num = 2;
  options.max_background_jobs = 2;
  options.write_buffer_size = size_t{2} << 20;  // of small records: more is memory that grows for hours before it is flushed
  options.wal_recovery_mode = rocksdb::WALRecoveryMode::kTolerateCorruptedTailRecords;  // a batch torn by a crash was never acknowledged
  options.compression = rocksdb::kNoCompression;
  rocksdb::BlockBasedTableOptions table;
  table.block_cache = rocksdb::NewLRUCache(kBlockCacheBytes, 0);
  options.table_factory.reset(rocksdb::NewBlockBasedTableFactory(table));
  return options;
}

rocksdb::Slice AsSlice(std::string_view text) { return {text.data(), text.size()}; }

class RocksStore final : public Store {
 public:
  RocksStore(rocksdb::DB* db, std::string folder, std::string scratch)
      : db_(db), folder_(std::move(folder)), scratch_(std::move(scratch)) {}
  ~RocksStore() override {
    db_.reset();
    if (!scratch_.empty()) (void)RemoveTree(scratch_);
  }
  Status Write(const StoreBatch& batch) override {
    rocksdb::WriteBatch writes;
    for (const auto& [from, to] : batch.delete_ranges) writes.DeleteRange(from, to);
    for (const auto& [key, value] : batch.puts) writes.Put(key, value);
    rocksdb::WriteOptions options;
    options.sync = true;
    rocksdb::Status status = db_->Write(options, &writes);
    if (!status.ok()) return StoreError("cannot write the store", status, folder_);
    return {};
  }
  Result<std::optional<std::string>> Get(const std::string& key) const override {
    std::string value;
    rocksdb::Status status = db_->Get(rocksdb::ReadOptions(), key, &value);
    if (status.IsNotFound()) return std::nullopt;
    if (!status.ok()) return StoreError("cannot read the store", status, folder_);
    return value;
  }
  Status Scan(const std::string& from, const std::string& to,
              const std::function<bool(std::string_view, std::string_view)>& visit) const override {
    std::unique_ptr<rocksdb::Iterator> at(db_->NewIterator(rocksdb::ReadOptions()));
    const rocksdb::Slice end = AsSlice(to);
    for (at->Seek(from); at->Valid(); at->Next()) {
      if (!to.empty() && at->key().compare(end) >= 0) break;
      if (!visit({at->key().data(), at->key().size()}, {at->value().data(), at->value().size()})) break;
    }
    if (!at->status().ok()) return StoreError("cannot read the store", at->status(), folder_);
    return {};
  }

 private:
  std::unique_ptr<rocksdb::DB> db_;
  std::string folder_, scratch_;
};

}  // namespace

Result<std::unique_ptr<Store>> Store::OpenForWriting(const std::string& folder) {
  CANDOR_TRY(MakeFolders(folder));
  rocksdb::Options options = MakeOptions();
  options.create_if_missing = true;
  rocksdb::DB* db = nullptr;
  rocksdb::Status status = rocksdb::DB::Open(options, folder, &db);
  if (!status.ok()) return StoreError("cannot open the store", status, folder);
  return std::make_unique<RocksStore>(db, folder, "");
}

Result<std::unique_ptr<Store>> Store::OpenAsReader(const std::string& folder) {
  if (!FileExists(folder + "/CURRENT")) return Fail(ErrorCode::kNotFound, "there is no store", folder);
  std::string scratch = (std::filesystem::temp_directory_path() / "candor-reader-XXXXXX").string();  // a secondary keeps its own log there
  if (!::mkdtemp(scratch.data())) return Fail(ErrorCode::kIo, "cannot make a temporary folder", scratch);
  rocksdb::Options options = MakeOptions();
  options.max_open_files = -1;
  rocksdb::DB* db = nullptr;
  rocksdb::Status status = rocksdb::DB::OpenAsSecondary(options, folder, scratch, &db);
  if (status.ok()) status = db->TryCatchUpWithPrimary();
  if (!status.ok()) {
    delete db;
    (void)RemoveTree(scratch);
    return StoreError("cannot read the store", status, folder);
  }
  return std::make_unique<RocksStore>(db, folder, scratch);
}

namespace {
class RocksHome final : public StoreHome {
 public:
  Result<std::unique_ptr<Store>> OpenForWriting(const std::string& folder) override { return Store::OpenForWriting(folder); }
  Result<std::unique_ptr<Store>> OpenAsReader(const std::string& folder) override { return Store::OpenAsReader(folder); }
  Status Remove(const std::string& folder) override { return RemoveTree(folder); }
  std::vector<uint64_t> Numbers(const std::string& parent) override { return NumberedEntries(parent, ""); }
};
}  // namespace

StoreHome& RocksStores() {
  static RocksHome home;
  return home;
}

void AppendBigEndian(std::string& key, uint64_t value) {
  for (int shift = 56; shift >= 0; shift -= 8) key.push_back(static_cast<char>(value >> shift & 0xff));
}

uint64_t ReadBigEndian(std::string_view bytes) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8 && i < bytes.size(); ++i) value = value << 8 | static_cast<uint8_t>(bytes[i]);
  return value;
}

std::string AfterPrefix(std::string prefix) {
  while (!prefix.empty() && static_cast<uint8_t>(prefix.back()) == 0xff) prefix.pop_back();
  if (!prefix.empty()) prefix.back() = static_cast<char>(static_cast<uint8_t>(prefix.back()) + 1);
  return prefix;
}

}  // namespace candor
