#include "coordinator/store.h"

#include <fmt/format.h>
#include <rocksdb/cache.h>
#include <rocksdb/db.h>
#include <rocksdb/options.h>
#include <rocksdb/table.h>
#include <rocksdb/write_batch.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>

#include "core/epoch.h"
#include "core/folder_lock.h"
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

constexpr std::string_view kReaderPrefix = "candor-reader-";
constexpr auto kYoungReader = std::chrono::minutes(1);  // may not have its lock yet

// A secondary keeps its own log in a folder of its own. Its lock says that somebody still reads; folders that killed readers left are
// removed by the next one.
class ReaderFolder {
 public:
  static Result<std::unique_ptr<ReaderFolder>> Make() {
    RemoveLeft();
    std::string path = (std::filesystem::temp_directory_path() / (std::string(kReaderPrefix) + "XXXXXX")).string();
    if (!::mkdtemp(path.data())) return Fail(ErrorCode::kIo, std::string("cannot make a temporary folder: ") + std::strerror(errno), path);
    return std::unique_ptr<ReaderFolder>(new ReaderFolder(std::move(path)));
  }
  ~ReaderFolder() { (void)RemoveTree(path_); }
  ReaderFolder(const ReaderFolder&) = delete;
  ReaderFolder& operator=(const ReaderFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  explicit ReaderFolder(std::string path) : path_(std::move(path)), lock_(path_) {}
  static void RemoveLeft() {
    std::error_code error;
    const auto now = std::filesystem::file_time_type::clock::now();
    std::filesystem::directory_iterator entry(std::filesystem::temp_directory_path(), error), end;
    for (; !error && entry != end; entry.increment(error)) {
      if (!entry->path().filename().string().starts_with(kReaderPrefix)) continue;
      std::error_code gone;
      const auto written = std::filesystem::last_write_time(entry->path(), gone);
      if (!gone && now - written >= kYoungReader) RemoveUnlocked(entry->path().string());
    }
  }
  const std::string path_;
  const FolderLock lock_;
};

class RocksStore final : public Store {
 public:
  RocksStore(rocksdb::DB* db, std::string folder, std::unique_ptr<ReaderFolder> scratch)
      : scratch_(std::move(scratch)), db_(db), folder_(std::move(folder)) {}
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
  std::unique_ptr<ReaderFolder> scratch_;  // before the database, which writes there until its end
  std::unique_ptr<rocksdb::DB> db_;
  std::string folder_;
};

}  // namespace

Result<std::unique_ptr<Store>> Store::OpenForWriting(const std::string& folder) {
  CANDOR_TRY(MakeFolders(folder));
  rocksdb::Options options = MakeOptions();
  options.create_if_missing = true;
  rocksdb::DB* db = nullptr;
  rocksdb::Status status = rocksdb::DB::Open(options, folder, &db);
  if (!status.ok()) return StoreError("cannot open the store", status, folder);
  return std::make_unique<RocksStore>(db, folder, nullptr);
}

Result<std::unique_ptr<Store>> Store::OpenAsReader(const std::string& folder) {
  if (!FileExists(folder + "/CURRENT")) return Fail(ErrorCode::kNotFound, "there is no store", folder);
  CANDOR_ASSIGN(std::unique_ptr<ReaderFolder> scratch, ReaderFolder::Make());
  rocksdb::Options options = MakeOptions();
  options.max_open_files = -1;
  rocksdb::DB* db = nullptr;
  rocksdb::Status status = rocksdb::DB::OpenAsSecondary(options, folder, scratch->path(), &db);
  if (status.ok()) status = db->TryCatchUpWithPrimary();
  if (!status.ok()) {
    delete db;
    return StoreError("cannot read the store", status, folder);
  }
  return std::make_unique<RocksStore>(db, folder, std::move(scratch));
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
