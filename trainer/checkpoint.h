// Checkpoints: loading, and writing while the caller waits. checkpoint_manifest.h says what lies on disk, checkpoint_writer.h how it is
// written beside the training. A checkpoint is complete or not there: its manifest is written last and its folder gets its name by one
// rename. Loading works at any number of ranks and any sharding: values are only moved, so the loaded state is bit-equal. A damaged
// checkpoint is named, set aside, and the one before it is used. All functions are collective calls.
#pragma once
#include <optional>
#include <string>

#include "trainer/checkpoint_manifest.h"
#include "trainer/sharded_policy.h"

namespace candor {

struct CheckpointInfo {
  int64_t step = 0;  // optimizer steps done
  std::string path;
  std::string manifest_hash;     // XXH3-128 of manifest.json
  uint64_t ledger_sequence = 0;  // what the coordinator's ledger held; 0: unknown
};

// The named tensors of a unit, in the order of a shard's file.
std::vector<std::pair<std::string, at::Tensor>> CheckpointedState(ShardedPolicy& policy, size_t unit);

// Writes step_<step> and waits for it, then removes all but the newest `keep_last`.
Result<CheckpointInfo> WriteCheckpoint(ShardedPolicy& policy, const std::string& checkpoints, int64_t step, int64_t keep_last);

// Fills the policy from the newest checkpoint that is whole; nullopt when there is none. A checkpoint of
// another model is an error, and so is what cannot be read for the machine's reasons or in this program's format: only damage sets one
// aside.
Result<std::optional<CheckpointInfo>> LoadNewestCheckpoint(ShardedPolicy& policy, const std::string& checkpoints);
// The same from one folder, which must be whole.
Result<CheckpointInfo> LoadCheckpoint(ShardedPolicy& policy, const std::string& folder);

}  // namespace candor
