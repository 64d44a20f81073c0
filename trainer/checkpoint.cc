#include "trainer/checkpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/fault_point.h"
#include "core/fs.h"
#include "core/log.h"
#include "model/safetensors_io.h"
#include "trainer/exchange.h"
#include "trainer/file_list.h"

namespace candor {

namespace {

constexpr int kFormat = 1;
constexpr size_t kManifestMax = size_t{64} << 20;
using Json = nlohmann::json;

std::string FolderName(int64_t step) { return fmt::format("step_{:08d}", step); }
std::string SliceFile(int slice) { return fmt::format("rank_{}.safetensors", slice); }

// The named tensors of a unit, in the order of the file.
std::vector<std::pair<std::string, at::Tensor>> StateOf(ShardedPolicy& policy, size_t unit) {
  ShardedPolicy::UnitState& state = policy.state(unit);
  const std::string name = policy.units()[unit].name + "/";
  std::vector<std::pair<std::string, at::Tensor>> tensors{
      {name + "master", state.master}, {name + "mean", state.mean}, {name + "square", state.square}};
  if (policy.has_average()) tensors.emplace_back(name + "average", state.average);
  return tensors;
}

bool OwnsSlice(const ShardPlan& plan) { return plan.rank < plan.slices(); }

Result<std::string> WriteSlice(ShardedPolicy& policy, const std::string& folder) {
  if (!OwnsSlice(policy.plan())) return std::string();
  std::vector<std::pair<std::string, at::Tensor>> tensors;
  for (size_t u = 0; u < policy.units().size(); ++u)
    for (auto& named : StateOf(policy, u)) tensors.push_back(std::move(named));
  const std::string name = SliceFile(policy.plan().rank);
  FaultPoint("checkpoint.shard");
  CANDOR_TRY(WriteSafetensors(folder + "/" + name, tensors));
  CANDOR_ASSIGN(ListedFile listed, ListFile(folder, name));
  return ToJsonText(listed);
}

std::string ManifestText(ShardedPolicy& policy, int64_t step, const std::vector<std::string>& files) {
  Json units = Json::array(), listed = Json::array();
  for (size_t u = 0; u < policy.units().size(); ++u)
    units.push_back({{"name", policy.units()[u].name}, {"count", policy.plan().units[u].count}, {"slice", policy.plan().units[u].slice}});
  for (const std::string& file : files)
    if (!file.empty()) listed.push_back(Json::parse(file));
  return Json{{"format", kFormat},
              {"step", step},
              {"updates", policy.updates()},
              {"slices", policy.plan().slices()},
              {"average", policy.has_average()},
              {"units", units},
              {"files", listed}}
      .dump(1);
}

// Steps of the complete checkpoints, newest first.
std::vector<int64_t> StepsIn(const std::string& checkpoints) {
  std::vector<int64_t> steps;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(checkpoints, ignored)) {
    std::string name = entry.path().filename().string();
    int64_t step = 0;
    if (!name.starts_with("step_")) continue;
    auto [end, bad] = std::from_chars(name.data() + 5, name.data() + name.size(), step);
    if (bad == std::errc() && end == name.data() + name.size()) steps.push_back(step);
  }
  std::sort(steps.rbegin(), steps.rend());
  return steps;
}

// Rank 0: the manifest makes the folder whole, the rename makes it a checkpoint.
Status Complete(const std::string& checkpoints, int64_t step, const std::string& part, const std::string& manifest, int64_t keep_last) {
  FaultPoint("checkpoint.manifest");
  CANDOR_TRY(WriteFileAtomic(part + "/manifest.json", manifest));
  CANDOR_TRY(SyncFolder(part));
  const std::string folder = checkpoints + "/" + FolderName(step);
  FaultPoint("checkpoint.rename");
  CANDOR_TRY(RemoveTree(folder));
  std::error_code error;
  std::filesystem::rename(part, folder, error);
  if (error) return Fail(ErrorCode::kIo, "cannot rename the checkpoint: " + error.message(), folder);
  CANDOR_TRY(SyncFolder(checkpoints));
  FaultPoint("checkpoint.pointer");
  CANDOR_TRY(WriteFileAtomic(checkpoints + "/latest", FolderName(step) + "\n"));
  std::vector<int64_t> steps = StepsIn(checkpoints);
  for (size_t i = static_cast<size_t>(keep_last); i < steps.size(); ++i) CANDOR_TRY(RemoveTree(checkpoints + "/" + FolderName(steps[i])));
  return {};
}

}  // namespace

Result<CheckpointInfo> WriteCheckpoint(ShardedPolicy& policy, const std::string& checkpoints, int64_t step, int64_t keep_last) {
  Collective& collective = policy.collective();
  const bool first = collective.rank() == 0;
  const std::string part = checkpoints + "/part_" + FolderName(step);
  Status made;
  if (first) made = RemoveTree(part);
  if (first && made) made = MakeFolders(part);
  CANDOR_TRY(AgreeOn(collective, made));
  Result<std::string> mine = WriteSlice(policy, part);
  CANDOR_TRY(AgreeOn(collective, mine ? Status{} : Status(Fail(mine.error()))));
  CANDOR_ASSIGN(std::vector<std::string> files, GatherTexts(collective, *mine));
  const std::string manifest = ManifestText(policy, step, files);
  CANDOR_TRY(AgreeOn(collective, first ? Complete(checkpoints, step, part, manifest, keep_last) : Status{}));
  return CheckpointInfo{step, checkpoints + "/" + FolderName(step), HashHex(manifest)};
}

namespace {

struct Manifest {
  int64_t step = 0, updates = 0;
  int slices = 1;
  bool average = false;
  std::vector<int64_t> counts, slice_sizes;
  std::vector<std::string> names;
  std::vector<ListedFile> files;
  std::string hash;
};

Result<Manifest> ReadManifest(const std::string& folder) {
  const std::string path = folder + "/manifest.json";
  CANDOR_ASSIGN(std::string text, ReadFile(path, kManifestMax));
  try {
    Json object = Json::parse(text);
    if (object.at("format").get<int>() != kFormat)
      return Fail(ErrorCode::kVersionSkew, fmt::format("has format {}, this program reads {}", object.at("format").dump(), kFormat), path);
    Manifest m{object.at("step").get<int64_t>(),
               object.at("updates").get<int64_t>(),
               object.at("slices").get<int>(),
               object.at("average").get<bool>(),
               {},
               {},
               {},
               {},
               HashHex(text)};
    for (const Json& unit : object.at("units")) {
      m.names.push_back(unit.at("name").get<std::string>());
      m.counts.push_back(unit.at("count").get<int64_t>());
      m.slice_sizes.push_back(unit.at("slice").get<int64_t>());
    }
    for (const Json& file : object.at("files")) {
      CANDOR_ASSIGN(ListedFile listed, ListedFileFromJson(file.dump(), path));
      m.files.push_back(std::move(listed));
    }
    if (m.slices < 1 || static_cast<int>(m.files.size()) != m.slices)
      return Fail(ErrorCode::kInvalidInput, "does not list one file per slice", path);
    for (size_t u = 0; u < m.counts.size(); ++u)
      if (m.slice_sizes[u] < 1 || m.slice_sizes[u] * m.slices < m.counts[u])
        return Fail(ErrorCode::kInvalidInput, "its slices do not cover unit " + m.names[u], path);
    return m;
  } catch (const Json::exception& error) {
    return Fail(ErrorCode::kInvalidInput, std::string("is no manifest: ") + error.what(), path);
  }
}

// Every rank checks its share of the files.
Status VerifyShare(const Manifest& manifest, const std::string& folder, const Collective& collective) {
  for (size_t i = static_cast<size_t>(collective.rank()); i < manifest.files.size(); i += static_cast<size_t>(collective.size()))
    CANDOR_TRY(VerifyListedFile(folder, manifest.files[i]));
  return {};
}

Status SameModel(const Manifest& manifest, ShardedPolicy& policy, const std::string& folder) {
  bool same = manifest.names.size() == policy.units().size();
  for (size_t u = 0; same && u < manifest.names.size(); ++u)
    same = manifest.names[u] == policy.units()[u].name && manifest.counts[u] == policy.plan().units[u].count;
  if (!same)
    return Fail(ErrorCode::kInvalidInput, "is the checkpoint of another model", folder,
                "use another run directory, or the model this run was started with");
  return {};
}

// Copies what this rank's slices need out of the old slices.
Status FillFrom(const Manifest& manifest, const std::string& folder, ShardedPolicy& policy) {
  std::vector<std::unique_ptr<SafetensorsFile>> files;
  for (int slice = 0; slice < manifest.slices; ++slice) {
    CANDOR_ASSIGN(std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(folder + "/" + SliceFile(slice)));
    files.push_back(std::move(file));
  }
  for (size_t u = 0; u < policy.units().size(); ++u)
    for (auto& [name, tensor] : StateOf(policy, u)) {
      const bool missing_average = name.ends_with("/average") && !manifest.average;
      const std::string source =
          missing_average ? policy.units()[u].name + "/master" : name;  // averaging was switched on: it starts from the weights
      for (const SliceCopy& copy : PlanReshard(manifest.slice_sizes[u], policy.plan().units[u])) {
        const auto& tensors = files[static_cast<size_t>(copy.from_slice)]->tensors();
        auto found = tensors.find(source);
        if (found == tensors.end() || found->second.scalar_type() != at::kFloat || found->second.numel() != manifest.slice_sizes[u])
          return Fail(ErrorCode::kInvalidInput, "lacks the tensor " + source, files[static_cast<size_t>(copy.from_slice)]->path());
        tensor.narrow(0, copy.to_offset, copy.count).copy_(found->second.narrow(0, copy.from_offset, copy.count));
      }
    }
  policy.set_updates(manifest.updates);
  policy.MastersChanged();
  return {};
}

}  // namespace

Result<std::optional<CheckpointInfo>> LoadNewestCheckpoint(ShardedPolicy& policy, const std::string& checkpoints) {
  Collective& collective = policy.collective();
  std::string list;
  if (collective.rank() == 0)
    for (int64_t step : StepsIn(checkpoints)) list += FolderName(step) + " ";
  CANDOR_ASSIGN(list, BroadcastText(collective, list, 0));
  for (size_t begin = 0, end; (end = list.find(' ', begin)) != std::string::npos; begin = end + 1) {
    const std::string folder = checkpoints + "/" + list.substr(begin, end - begin);
    Result<Manifest> manifest = ReadManifest(folder);
    Status whole = manifest ? VerifyShare(*manifest, folder, collective) : Status(Fail(manifest.error()));
    if (Status agreed = AgreeOn(collective, whole); !agreed) {
      if (agreed.error().code == ErrorCode::kCollective) return Fail(agreed.error());
      if (collective.rank() == 0)
        spdlog::error("checkpoint {} cannot be used, trying the one before it: {}", folder, agreed.error().Message());
      continue;
    }
    Status filled = SameModel(*manifest, policy, folder);
    if (filled) filled = FillFrom(*manifest, folder, policy);
    CANDOR_TRY(AgreeOn(collective, filled));
    return CheckpointInfo{manifest->step, folder, manifest->hash};
  }
  return std::nullopt;
}

}  // namespace candor
