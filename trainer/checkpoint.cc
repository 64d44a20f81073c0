#include "trainer/checkpoint.h"

#include <filesystem>

#include "core/fs.h"
#include "core/log.h"
#include "model/safetensors_io.h"
#include "trainer/checkpoint_writer.h"
#include "trainer/exchange.h"

namespace candor {

std::vector<std::pair<std::string, at::Tensor>> CheckpointedState(ShardedPolicy& policy, size_t unit) {
  ShardedPolicy::UnitState& state = policy.state(unit);
  const std::string name = policy.units()[unit].name + "/";
  std::vector<std::pair<std::string, at::Tensor>> tensors{
      {name + "master", state.master}, {name + "mean", state.mean}, {name + "square", state.square}};
  if (policy.has_average()) tensors.emplace_back(name + "average", state.average);
  return tensors;
}

Result<CheckpointInfo> WriteCheckpoint(ShardedPolicy& policy, const std::string& checkpoints, int64_t step, int64_t keep_last) {
  CheckpointOptions keep;
  keep.keep_last = keep_last;
  CheckpointWriter writer(policy, checkpoints, keep);
  CANDOR_TRY(writer.Start(step, ""));
  CANDOR_ASSIGN(const CheckpointOutcome outcome, writer.Finish(kCheckpointDeadlineMs));
  CANDOR_TRY(outcome.written);
  return outcome.info;
}

namespace {

// Every rank checks its share of the files.
Status VerifyShare(const CheckpointManifest& manifest, const std::string& folder, const Collective& collective) {
  for (size_t i = static_cast<size_t>(collective.rank()); i < manifest.files.size(); i += static_cast<size_t>(collective.size()))
    CANDOR_TRY(VerifyListedFile(folder, manifest.files[i]));
  return {};
}

Status SameModel(const CheckpointManifest& manifest, ShardedPolicy& policy, const std::string& folder) {
  bool same = manifest.units.size() == policy.units().size();
  for (size_t u = 0; same && u < manifest.units.size(); ++u)
    same = manifest.units[u].name == policy.units()[u].name && manifest.units[u].count == policy.plan().units[u].count;
  if (!same)
    return Fail(ErrorCode::kInvalidInput, "is the checkpoint of another model", folder,
                "use another run directory, or the model this run was started with");
  return {};
}

// Copies what this rank's slices need out of the old slices.
Status FillFrom(const CheckpointManifest& manifest, const std::string& folder, ShardedPolicy& policy) {
  std::vector<std::unique_ptr<SafetensorsFile>> files;
  for (int slice = 0; slice < manifest.slices; ++slice) {
    CANDOR_ASSIGN(std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(folder + "/" + SliceFileName(slice), false));
    files.push_back(std::move(file));
  }
  for (size_t u = 0; u < policy.units().size(); ++u)
    for (auto& [name, tensor] : CheckpointedState(policy, u)) {
      const bool missing_average = name.ends_with("/average") && !manifest.average;
      const std::string source =
          missing_average ? policy.units()[u].name + "/master" : name;  // averaging was switched on: it starts from the weights
      for (const SliceCopy& copy : PlanReshard(manifest.units[u].slice, policy.plan().units[u])) {
        const auto& tensors = files[static_cast<size_t>(copy.from_slice)]->tensors();
        auto found = tensors.find(source);
        if (found == tensors.end() || found->second.scalar_type() != at::kFloat || found->second.numel() != manifest.units[u].slice)
          return Fail(ErrorCode::kInvalidInput, "lacks the tensor " + source, files[static_cast<size_t>(copy.from_slice)]->path());
        tensor.narrow(0, copy.to_offset, copy.count).copy_(found->second.narrow(0, copy.from_offset, copy.count));
      }
    }
  policy.set_updates(manifest.updates);
  policy.MastersChanged();
  return {};
}

// The manifest, when every rank found its share whole; the same verdict on all ranks.
Result<CheckpointManifest> AgreeOnWhole(const std::string& folder, int64_t step, Collective& collective) {
  Result<CheckpointManifest> manifest = ReadCheckpointManifest(folder);
  if (manifest && step >= 0 && manifest->step != step)
    manifest = Fail(ErrorCode::kInvalidInput, "holds the checkpoint of step " + std::to_string(manifest->step), folder);
  Status whole = manifest ? VerifyShare(*manifest, folder, collective) : Status(Fail(manifest.error()));
  CANDOR_TRY(AgreeOn(collective, whole));
  return manifest;
}

// Whether the checkpoint itself is at fault. One of another program's format, or one that this machine cannot read now (too many open
// files, no permission, a file system that is away), may be whole: the run ends and says so rather than going back behind it.
bool IsDamage(const Error& error) {
  return error.code != ErrorCode::kCollective && error.code != ErrorCode::kVersionSkew && error.code != ErrorCode::kUnavailable &&
         error.code != ErrorCode::kIo;
}

Result<CheckpointInfo> Fill(const CheckpointManifest& manifest, const std::string& folder, ShardedPolicy& policy) {
  Status filled = SameModel(manifest, policy, folder);
  if (filled) filled = FillFrom(manifest, folder, policy);
  CANDOR_TRY(AgreeOn(policy.collective(), filled));
  return CheckpointInfo{manifest.step, folder, manifest.hash, manifest.LedgerSequence()};
}

}  // namespace

Result<CheckpointInfo> LoadCheckpoint(ShardedPolicy& policy, const std::string& folder) {
  CANDOR_ASSIGN(const CheckpointManifest manifest, AgreeOnWhole(folder, -1, policy.collective()));
  return Fill(manifest, folder, policy);
}

Result<std::optional<CheckpointInfo>> LoadNewestCheckpoint(ShardedPolicy& policy, const std::string& checkpoints) {
  Collective& collective = policy.collective();
  std::string list;
  Status listed;
  if (std::error_code error; collective.rank() == 0) {
    const std::filesystem::directory_iterator readable(checkpoints, error);
    if (error && error != std::errc::no_such_file_or_directory)
      listed = Fail(ErrorCode::kIo, "cannot be listed: " + error.message(), checkpoints);
  }
  CANDOR_TRY(AgreeOn(collective, listed));
  if (collective.rank() == 0)
    for (const CheckpointFolder& folder : FindCheckpoints(checkpoints)) list += std::to_string(folder.step) + ":" + folder.name + " ";
  CANDOR_ASSIGN(list, BroadcastText(collective, list, 0));
  for (size_t begin = 0, end; (end = list.find(' ', begin)) != std::string::npos; begin = end + 1) {
    const size_t colon = list.find(':', begin);
    const CheckpointFolder candidate{std::stoll(list.substr(begin, colon - begin)), list.substr(colon + 1, end - colon - 1)};
    const std::string folder = checkpoints + "/" + candidate.name;
    Result<CheckpointManifest> manifest = AgreeOnWhole(folder, candidate.step, collective);
    if (!manifest) {
      if (!IsDamage(manifest.error())) return Fail(manifest.error());
      if (collective.rank() == 0) {
        spdlog::error("checkpoint {} cannot be used, trying the one before it: {}", folder, manifest.error().Message());
        // It is not to come back when its successors are older than it says it is.
        if (Status moved = SetDamagedAside(checkpoints, candidate); !moved) LogError(moved.error(), "damaged checkpoint");
      }
      continue;
    }
    CANDOR_ASSIGN(const CheckpointInfo info, Fill(*manifest, folder, policy));
    return std::optional(info);
  }
  return std::nullopt;
}

}  // namespace candor
