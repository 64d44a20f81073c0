#include "trainer/publisher.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "core/fault_point.h"
#include "core/fs.h"
#include "model/safetensors_io.h"
#include "trainer/exchange.h"
#include "trainer/file_list.h"

namespace candor {

namespace {

constexpr const char* kWeights = "model.safetensors";

std::vector<SafetensorsEntry> EntriesOf(const ShardedPolicy& policy) {
  std::vector<SafetensorsEntry> entries;
  for (const UnitSpec& unit : policy.units())
    for (const ParamSpec& param : unit.params) entries.push_back({param.name, ToScalarType(policy.dtype()), param.shape});
  return entries;
}

// All ranks gather; rank 0 writes. A failure to write does not stop the collective calls, it is returned at the end.
Status StreamWeights(ShardedPolicy& policy, const std::string& folder) {
  const bool first = policy.collective().rank() == 0;
  std::unique_ptr<SafetensorsWriter> writer;
  Status written;
  if (first) {
    Result<std::unique_ptr<SafetensorsWriter>> made = SafetensorsWriter::Create(folder + "/" + kWeights, EntriesOf(policy));
    if (made)
      writer = std::move(*made);
    else
      written = Fail(made.error());
  }
  for (size_t u = 0; u < policy.units().size(); ++u) {
    CANDOR_ASSIGN(at::Tensor whole, policy.WholeUnit(u, ShardedPolicy::Which::kCompute));
    if (writer) whole = whole.cpu();
    if (writer && written)
      written = writer->AppendBytes(whole.data_ptr(), static_cast<size_t>(policy.units()[u].Count()) * whole.element_size());
  }
  if (writer && written) written = writer->Finish();
  return written;
}

Status WriteManifest(const std::string& folder, int64_t version, std::string& hash) {
  std::string files;
  std::vector<std::string> names{"config.json", kWeights};
  for (const std::string& name : names) {
    CANDOR_ASSIGN(ListedFile listed, ListFile(folder, name));
    files += (files.empty() ? "" : ",\n  ") + ToJsonText(listed);
  }
  const std::string text = fmt::format("{{\"version\": {}, \"files\": [\n  {}\n]}}\n", version, files);
  hash = HashHex(text);
  return WriteFileAtomic(folder + "/manifest.json", text, false);
}

void RemoveOldVersions(const std::string& weights, int64_t newest, int64_t keep) {
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator(weights, ignored)) {
    std::string name = entry.path().filename().string();
    int64_t version = 0;
    if (name.size() < 2 || name[0] != 'v') continue;
    auto [end, bad] = std::from_chars(name.data() + 1, name.data() + name.size(), version);
    if (bad == std::errc() && end == name.data() + name.size() && version <= newest - keep)
      std::filesystem::remove_all(entry.path(), ignored);
  }
}

// Rank 0, after the weights are in `part`.
Status Complete(ShardedPolicy& policy, const std::string& weights, const std::string& part, int64_t version, int64_t keep,
                std::string& hash) {
  CANDOR_TRY(
      WriteFileAtomic(part + "/config.json", ConfigJson(policy.config(), policy.dtype() == DType::kBf16 ? "bfloat16" : "float32"), false));
  FaultPoint("weights.manifest");
  CANDOR_TRY(WriteManifest(part, version, hash));
  const std::string folder = fmt::format("{}/v{}", weights, version);
  CANDOR_TRY(RemoveTree(folder));  // of an earlier life of this run
  std::error_code error;
  std::filesystem::rename(part, folder, error);
  if (error) return Fail(ErrorCode::kIo, "cannot rename the published weights: " + error.message(), folder);
  FaultPoint("weights.renamed");
  RemoveOldVersions(weights, version, keep);
  return {};
}

}  // namespace

Result<VersionInfo> PublishWeights(ShardedPolicy& policy, const std::string& run_dir, int64_t version, int64_t keep) {
  Collective& collective = policy.collective();
  const bool first = collective.rank() == 0;
  const std::string weights = run_dir + "/weights", part = fmt::format("{}/part_v{}", weights, version);
  Status status;
  if (first) status = RemoveTree(part);
  if (first && status) status = MakeFolders(part);
  CANDOR_TRY(AgreeOn(collective, status));
  status = StreamWeights(policy, part);
  FaultPoint("weights.streamed");
  if (!status && status.error().code == ErrorCode::kCollective) return Fail(status.error());
  std::string hash;
  if (first && status) status = Complete(policy, weights, part, version, keep, hash);
  CANDOR_TRY(AgreeOn(collective, status));
  CANDOR_ASSIGN(hash, BroadcastText(collective, hash, 0));
  return VersionInfo{{static_cast<uint64_t>(version)}, fmt::format("{}/v{}/manifest.json", weights, version), hash};
}

Status WriteFinalPolicy(ShardedPolicy& policy, const std::string& folder, const PolicyFolderOptions& options) {
  Collective& collective = policy.collective();
  const bool first = collective.rank() == 0;
  ShardedPolicy::Which which = policy.has_average() ? ShardedPolicy::Which::kAverage : ShardedPolicy::Which::kCompute;
  std::optional<Parameters> whole;
  if (first) whole.emplace(policy.config(), ToScalarType(policy.dtype()));
  for (size_t u = 0; u < policy.units().size(); ++u) {
    CANDOR_ASSIGN(at::Tensor unit, policy.WholeUnit(u, which));
    if (first) whole->Flat(u).copy_(unit.narrow(0, 0, policy.units()[u].Count()));
  }
  return AgreeOn(collective, first ? WritePolicyFolder(folder, policy.config(), *whole, options) : Status{});
}

}  // namespace candor
