// Files and folders of rows to a DataSet, and several of them interleaved by weight; see rows.h.
#include <algorithm>
#include <cmath>
#include <filesystem>
#include <unordered_map>

#include "core/fs.h"
#include "text/rows.h"

namespace candor {
namespace {

constexpr size_t kMaxFileBytes = size_t{1} << 36;
constexpr int64_t kMaxRows = int64_t{1} << 31;  // rows are addressed by 32 bits (PromptRef)

Status CheckEnding(const std::string& path) {
  const auto ends = [&](std::string_view ending) { return path.ends_with(ending); };
  if (ends(".zst")) return Fail(ErrorCode::kInvalidInput, "compressed rows are not read", path, "unpack it first: zstd -d " + path);
  if (ends(".gz")) return Fail(ErrorCode::kInvalidInput, "compressed rows are not read", path, "unpack it first: gunzip -k " + path);
  if (ends(".parquet")) {
    return Fail(ErrorCode::kInvalidInput, "Parquet is not read", path,
                "convert it first: python3 -c \"import pandas; pandas.read_parquet('" + path +
                    "').to_json('rows.jsonl', orient='records', lines=True)\"");
  }
  return {};
}

// The file itself, or a folder's *.jsonl in name order.
Result<std::vector<std::string>> FilesOf(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code error;
  if (!fs::is_directory(path, error)) {
    CANDOR_TRY(CheckEnding(path));
    if (!FileExists(path)) return Fail(ErrorCode::kNotFound, "there is no such file", path, "check the path");
    return std::vector<std::string>{path};
  }
  std::vector<std::string> files;
  for (fs::directory_iterator it(path, error), end; !error && it != end; it.increment(error)) {
    if (it->path().extension() == ".jsonl") files.push_back(it->path().string());
  }
  if (error) return Fail(ErrorCode::kIo, "cannot list the folder: " + error.message(), path);
  if (files.empty()) return Fail(ErrorCode::kNotFound, "the folder has no *.jsonl file", path, "name a .jsonl file or a folder with some");
  std::sort(files.begin(), files.end());
  return files;
}

Status AppendFile(const std::string& path, const FieldNames& fields, const RowNeeds& needs, int64_t limit, std::vector<DataRow>& rows) {
  constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
  CANDOR_ASSIGN(const std::string bytes, ReadFile(path, kMaxFileBytes));
  std::string_view rest = bytes;
  if (rest.starts_with(kByteOrderMark)) rest.remove_prefix(kByteOrderMark.size());
  for (int64_t number = 1; !rest.empty(); ++number) {
    if (limit > 0 && static_cast<int64_t>(rows.size()) >= limit) return {};
    const size_t end = rest.find('\n');
    std::string_view line = rest.substr(0, end);
    rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.find_first_not_of(" \t") == std::string_view::npos) continue;
    CANDOR_ASSIGN(DataRow row, ParseRow(line, path + ":" + std::to_string(number), fields, needs));
    rows.push_back(std::move(row));
  }
  return {};
}

// An id names one row: evaluation pairs rows of two runs by it.
Status CheckIds(const std::vector<DataRow>& rows) {
  std::unordered_map<std::string_view, std::string_view> where_of;
  for (const DataRow& row : rows) {
    const auto [it, fresh] = where_of.try_emplace(row.id, row.where);
    if (!fresh && it->second != row.where) {
      return Fail(ErrorCode::kInvalidInput, "the id \"" + row.id + "\" is also used at " + std::string(it->second), row.where,
                  "give each row its own id, or leave ids out");
    }
  }
  return {};
}

std::string HashOf(const std::vector<DataRow>& rows) {
  std::string hashes;
  for (const DataRow& row : rows) hashes += HashHex(row.json);
  return HashHex(hashes);
}

Result<std::vector<DataRow>> ReadRows(const std::string& path, const FieldNames& fields, const RowNeeds& needs, int64_t limit) {
  CANDOR_ASSIGN(const std::vector<std::string> files, FilesOf(path));
  std::vector<DataRow> rows;
  for (const std::string& file : files) {
    if (limit > 0 && static_cast<int64_t>(rows.size()) >= limit) break;
    CANDOR_TRY(AppendFile(file, fields, needs, limit, rows));
  }
  if (rows.empty()) return Fail(ErrorCode::kInvalidInput, "there are no rows", path, "write one JSON object per line");
  return rows;
}

// Occurrence k of the `count` that a file of n rows contributes.
struct Visit {
  uint64_t k = 0;
  uint64_t count = 0;
  size_t file = 0;
  uint64_t row = 0;
};

// By (k + 1/2) / count, compared exactly; ties go to the file that is listed first.
bool Before(const Visit& a, const Visit& b) {
  const uint64_t left = (2 * a.k + 1) * b.count;
  const uint64_t right = (2 * b.k + 1) * a.count;
  return left != right ? left < right : a.file < b.file;
}

}  // namespace

Result<DataSet> ReadDataSet(const std::string& path, const FieldNames& fields, const RowNeeds& needs, int64_t limit) {
  DataSet set;
  CANDOR_ASSIGN(set.rows, ReadRows(path, fields, needs, limit));
  CANDOR_TRY(CheckIds(set.rows));
  set.hash = HashOf(set.rows);
  return set;
}

Result<DataSet> ReadDataSets(std::span<const DataFile> files, const FieldNames& fields, const RowNeeds& needs) {
  if (files.empty()) return Fail(ErrorCode::kInvalidInput, "no training data is named", "data.train", "add [[data.train]] with a path");
  std::vector<std::vector<DataRow>> rows_of(files.size());
  std::vector<Visit> visits;
  for (size_t f = 0; f < files.size(); ++f) {
    CANDOR_ASSIGN(rows_of[f], ReadRows(files[f].path, fields, needs, 0));
    const uint64_t n = rows_of[f].size();
    const double wanted = files[f].weight * static_cast<double>(n);
    if (!(files[f].weight > 0 && wanted < static_cast<double>(kMaxRows))) {
      return Fail(ErrorCode::kInvalidInput, "the weight is not a positive number that keeps the set below 2^31 rows", files[f].path,
                  "use 1");
    }
    const uint64_t count = static_cast<uint64_t>(std::max<int64_t>(1, std::llround(wanted)));
    for (uint64_t k = 0; k < count; ++k) visits.push_back({k, count, f, count < n ? k * n / count : k % n});
  }
  if (static_cast<int64_t>(visits.size()) >= kMaxRows)
    return Fail(ErrorCode::kInvalidInput, "more than 2^31 rows", "data.train", "use smaller weights");
  std::sort(visits.begin(), visits.end(), Before);
  DataSet set;
  set.rows.reserve(visits.size());
  for (const Visit& visit : visits) set.rows.push_back(rows_of[visit.file][visit.row]);
  CANDOR_TRY(CheckIds(set.rows));
  set.hash = HashOf(set.rows);
  return set;
}

}  // namespace candor
