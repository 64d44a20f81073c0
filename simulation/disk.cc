#include "simulation/disk.h"

namespace candor::sim {

std::pair<std::string, std::string> SimDisk::Split(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? std::make_pair(std::string("."), path)
                                    : std::make_pair(path.substr(0, slash), path.substr(slash + 1));
}

std::shared_ptr<SimDisk::File> SimDisk::Find(const std::string& path) const {
  const auto [folder, name] = Split(path);
  auto at = folders_.find(folder);
  if (at == folders_.end()) return nullptr;
  auto file = at->second.names.find(name);
  return file == at->second.names.end() ? nullptr : file->second;
}

Result<std::string> SimDisk::Read(const std::string& path, size_t max_bytes) {
  const std::shared_ptr<File> file = Find(path);
  if (!file) return Fail(ErrorCode::kNotFound, "cannot open: no such file", path);
  if (file->bytes.size() > max_bytes) return Fail(ErrorCode::kInvalidInput, "more bytes than allowed here", path);
  return file->bytes;
}

Status SimDisk::Write(const std::string& path, std::string_view bytes, bool sync) {
  CANDOR_TRY(Ask("write", path));
  const auto [folder, name] = Split(path);
  Folder& in = folders_[folder];
  auto file = std::make_shared<File>();
  file->bytes = bytes;
  in.names[name] = file;
  in.changed.insert(name);
  if (!sync) return {};
  CANDOR_TRY(Ask("sync", path));
  if (!Broken(path)) file->durable = bytes, file->synced = true;
  return {};
}

Status SimDisk::Append(const std::string& path, std::string_view bytes) {
  CANDOR_TRY(Ask("append", path));
  const auto [folder, name] = Split(path);
  Folder& in = folders_[folder];
  std::shared_ptr<File>& file = in.names[name];
  if (!file) file = std::make_shared<File>(), in.changed.insert(name);
  file->bytes.append(bytes);
  return {};
}

Status SimDisk::Rename(const std::string& from, const std::string& to) {
  CANDOR_TRY(Ask("rename", to));
  const std::shared_ptr<File> file = Find(from);
  if (!file) return Fail(ErrorCode::kNotFound, "cannot rename: no such file", from);
  const auto [from_folder, from_name] = Split(from);
  const auto [to_folder, to_name] = Split(to);
  folders_[from_folder].names.erase(from_name);
  folders_[from_folder].changed.insert(from_name);
  folders_[to_folder].names[to_name] = file;
  folders_[to_folder].changed.insert(to_name);
  return {};
}

Status SimDisk::Link(const std::string& from, const std::string& to) {
  CANDOR_TRY(Ask("link", to));
  if (Find(to)) return Fail(ErrorCode::kUnavailable, "somebody else created it first", to);
  const std::shared_ptr<File> file = Find(from);
  if (!file) return Fail(ErrorCode::kNotFound, "cannot link: no such file", from);
  const auto [folder, name] = Split(to);
  folders_[folder].names[name] = file;
  folders_[folder].changed.insert(name);
  return {};
}

void SimDisk::Remove(const std::string& path) {
  if (!Ask("remove", path)) return;
  const auto [folder, name] = Split(path);
  auto at = folders_.find(folder);
  if (at == folders_.end() || at->second.names.erase(name) == 0) return;
  at->second.changed.insert(name);
}

Status SimDisk::SyncFolder(const std::string& folder) {
  CANDOR_TRY(Ask("sync folder", folder));
  if (Broken(folder + "/")) return {};
  Folder& in = folders_[folder];
  for (const std::string& name : in.changed) {
    auto present = in.names.find(name);
    if (present == in.names.end())
      in.durable.erase(name);
    else
      in.durable[name] = present->second;
  }
  in.changed.clear();
  return {};
}

bool SimDisk::Exists(const std::string& path) {
  if (sabotage_blind_to_epochs && path.find("/epoch.") != std::string::npos) return false;
  return Find(path) != nullptr;
}

Result<std::vector<std::string>> SimDisk::List(const std::string& folder) {
  std::vector<std::string> names;
  auto at = folders_.find(folder);
  if (at == folders_.end()) return names;
  for (const auto& [name, file] : at->second.names) names.push_back(name);
  return names;
}

bool SimDisk::IsDurable(const std::string& path) const {
  const auto [folder, name] = Split(path);
  auto at = folders_.find(folder);
  if (at == folders_.end()) return false;
  auto file = at->second.durable.find(name);
  return file != at->second.durable.end() && file->second->synced && file->second->durable == file->second->bytes;
}

// Names go back to what was synced, though a name may have reached the medium by itself; bytes that were not synced are torn.
void SimDisk::LosePower(const std::string& folder) {
  Folder& in = folders_[folder];
  for (const std::string& name : in.changed) {
    if (dice_.Chance(0.5)) continue;  // this name had been written back
    auto durable = in.durable.find(name);
    if (durable == in.durable.end())
      in.names.erase(name);
    else
      in.names[name] = durable->second;
  }
  for (auto& [name, file] : in.names) {
    if (file->synced && file->bytes == file->durable) continue;
    if (file->synced && dice_.Chance(0.5))
      file->bytes = file->durable;
    else
      file->bytes.resize(dice_.Bits() % (file->bytes.size() + 1));
    file->durable = file->bytes, file->synced = true;
  }
  in.durable = in.names;
  in.changed.clear();
}

}  // namespace candor::sim
