#include "reward/spool.h"

#include <fmt/format.h>

#include "core/fs.h"
#include "core/log.h"
#include "reward/filter.h"

namespace candor {

namespace {

constexpr std::string_view kMagic = "CNDSPL01";
constexpr size_t kHashChars = 32;
constexpr size_t kHeaderBytes = kMagic.size() + 3 * 8 + 2 * kHashChars;
constexpr size_t kFileBytesMax = size_t{1} << 32;
constexpr std::string_view kSuffix = ".group";

void AppendU64(std::string& out, uint64_t value) {
  for (int shift = 0; shift < 64; shift += 8) out += static_cast<char>(value >> shift & 0xff);
}
uint64_t ReadU64(std::string_view bytes, size_t at) {
  uint64_t value = 0;
  for (size_t i = 0; i < 8; ++i) value |= static_cast<uint64_t>(static_cast<unsigned char>(bytes[at + i])) << (8 * i);
  return value;
}

std::string EncodeFile(const SpooledGroup& entry, std::string_view payload) {
  std::string numbers;
  for (uint64_t number : {entry.group.value, entry.wave.value, entry.payload_bytes}) AppendU64(numbers, number);
  std::string file(kMagic);
  file += numbers + HashHex(numbers + entry.hash) + entry.hash;
  file += payload;
  return file;
}

// The payload is file.substr(kHeaderBytes).
Result<SpooledGroup> DecodeFile(const std::string& file, const std::string& path) {
  auto bad = [&](const char* what) { return Fail(ErrorCode::kIo, std::string("spooled group: ") + what, path); };
  if (file.size() < kHeaderBytes) return bad("shorter than a header");
  if (!std::string_view(file).starts_with(kMagic)) return bad("not a spool file of this version");
  std::string numbers = file.substr(kMagic.size(), 24);
  std::string header_hash = file.substr(kMagic.size() + 24, kHashChars);
  SpooledGroup entry{
      {ReadU64(numbers, 0)}, {ReadU64(numbers, 8)}, file.substr(kMagic.size() + 24 + kHashChars, kHashChars), ReadU64(numbers, 16)};
  if (HashHex(numbers + entry.hash) != header_hash) return bad("damaged header");
  if (file.size() - kHeaderBytes != entry.payload_bytes) return bad("torn");
  if (HashHex(std::string_view(file).substr(kHeaderBytes)) != entry.hash) return bad("damaged payload");
  return entry;
}

}  // namespace

Result<std::string> ReadSpooledFile(const std::string& path) {
  CANDOR_ASSIGN(const std::string file, ReadFile(path, kFileBytesMax));
  CANDOR_TRY(DecodeFile(file, path));
  return file.substr(kHeaderBytes);
}

Result<std::unique_ptr<Spool>> Spool::Open(const std::string& folder, uint64_t limit_bytes, Disk& disk) {
  CANDOR_TRY(disk.MakeFolders(folder));
  std::unique_ptr<Spool> spool(new Spool(disk, folder, limit_bytes));
  CANDOR_TRY(spool->Scan());
  return spool;
}

std::string Spool::PathOf(GroupId group) const { return fmt::format("{}/{:016x}{}", folder_, group.value, kSuffix); }

Status Spool::Scan() {
  CANDOR_ASSIGN(const std::vector<std::string> names, disk_.List(folder_));
  for (const std::string& name : names) {
    const std::string path = folder_ + "/" + name;
    if (path.find(".tmp.") != std::string::npos) {  // a write that never finished: nobody was told of it
      disk_.Remove(path);
      continue;
    }
    if (!path.ends_with(kSuffix)) continue;
    Result<std::string> file = disk_.Read(path, kFileBytesMax);
    Result<SpooledGroup> entry = file ? DecodeFile(*file, path) : Result<SpooledGroup>(Fail(file.error()));
    if (entry && PathOf(entry->group) != path) entry = Fail(ErrorCode::kIo, "spooled group: lies under another group's name", path);
    if (!entry) {
      SetAside(path, entry.error());
      continue;
    }
    bytes_ += entry->payload_bytes;
    groups_[entry->group] = *entry;
  }
  // An earlier life may have died between the rename and this: what is found here is acknowledged, so its name must be on the medium.
  return disk_.SyncFolder(folder_);
}

Result<SpooledGroup> Spool::Put(GroupId group, StepId wave, std::string_view payload) {
  std::scoped_lock lock(mutex_);
  if (auto found = groups_.find(group); found != groups_.end()) return found->second;
  if (payload.size() > limit_bytes_ - std::min(limit_bytes_, bytes_))
    return Fail(ErrorCode::kUnavailable, fmt::format("the spool holds {} groups and {} MiB, its limit", groups_.size(), bytes_ >> 20),
                folder_, "it empties when a checkpoint covers its steps: write checkpoints more often or raise [reward] spool_limit_mb");
  SpooledGroup entry{group, wave, HashHex(payload), payload.size()};
  std::string path = PathOf(group);
  if (Status written = WriteFileAtomic(disk_, path, EncodeFile(entry, payload)); !written) {
    Error problem = written.error();
    problem.what = "cannot spool group " + ToString(group) + ": " + problem.what;
    if (problem.fix.empty()) problem.fix = "free space or repair the disk; nothing is acknowledged until then";
    return Fail(problem);
  }
  bytes_ += payload.size();
  groups_[group] = entry;
  return entry;
}

void Spool::SetAside(const std::string& path, const Error& error) {
  LogError(error, "set aside");
  ++set_aside_;
  (void)disk_.Rename(path, path + ".bad");
}

Result<std::string> Spool::ReadPayload(const SpooledGroup& entry) const {
  std::string path = PathOf(entry.group);
  CANDOR_ASSIGN(std::string file, disk_.Read(path, kFileBytesMax));
  CANDOR_ASSIGN(SpooledGroup stored, DecodeFile(file, path));
  if (stored.hash != entry.hash) return Fail(ErrorCode::kIo, "spooled group: changed on disk", path);
  file.erase(0, kHeaderBytes);
  return file;
}

Result<std::string> Spool::Fetch(GroupId group, const std::string& hash) {
  std::scoped_lock lock(mutex_);
  auto found = groups_.find(group);
  if (found == groups_.end()) return Fail(ErrorCode::kNotFound, "no spooled group " + ToString(group), folder_);
  if (!hash.empty() && hash != found->second.hash)
    return Fail(ErrorCode::kInvalidInput, "group " + ToString(group) + " is spooled with hash " + found->second.hash + ", not " + hash,
                folder_);
  Result<std::string> payload = ReadPayload(found->second);
  if (!payload) {
    SetAside(PathOf(group), payload.error());
    bytes_ -= found->second.payload_bytes;
    groups_.erase(found);
  }
  return payload;
}

std::optional<SpooledGroup> Spool::Find(GroupId group) const {
  std::scoped_lock lock(mutex_);
  auto found = groups_.find(group);
  if (found == groups_.end()) return std::nullopt;
  return found->second;
}

std::vector<SpooledGroup> Spool::List() const {
  std::scoped_lock lock(mutex_);
  std::vector<SpooledGroup> list;
  for (const auto& [id, entry] : groups_) list.push_back(entry);
  return list;
}

void Spool::Remove(std::map<GroupId, SpooledGroup>::iterator entry) {
  disk_.Remove(PathOf(entry->first));  // may come back after a power cut: it is then announced and released again
  bytes_ -= entry->second.payload_bytes;
  groups_.erase(entry);
}

void Spool::ReleaseThrough(StepId through) {
  std::scoped_lock lock(mutex_);
  for (auto at = groups_.begin(); at != groups_.end();) {
    auto next = std::next(at);
    if (!IsEvaluation(at->first) && at->second.wave <= through) Remove(at);
    at = next;
  }
}

void Spool::Forget(std::span<const GroupId> groups) {
  std::scoped_lock lock(mutex_);
  for (GroupId group : groups)
    if (auto found = groups_.find(group); found != groups_.end()) Remove(found);
}

uint64_t Spool::bytes() const {
  std::scoped_lock lock(mutex_);
  return bytes_;
}

}  // namespace candor
