// Checkpoints: CHECKPOINTS/step_<N>/ holds one file per slice (rank_<r>.safetensors: master weights, both moments, averages) and
// manifest.json, written last; the folder gets its name by one atomic rename when all of it is on disk, so a checkpoint is complete or not
// there. CHECKPOINTS/latest names the newest, as a hint for people. Loading works at any number of ranks and any sharding; at the same plan
// it is bit-equal (at another too: values are only moved). A damaged checkpoint is named and the one before it is used. All functions are
// collective calls.
#pragma once
#include <optional>
#include <string>

#include "trainer/sharded_policy.h"

namespace candor {

struct CheckpointInfo {
  int64_t step = 0;  // optimizer steps done
  std::string path;
  std::string manifest_hash;  // XXH3-128 of manifest.json
};

// Writes step_<step>, then removes all but the newest `keep_last`.
Result<CheckpointInfo> WriteCheckpoint(ShardedPolicy& policy, const std::string& checkpoints, int64_t step, int64_t keep_last);

// Fills the policy from the newest checkpoint that is whole; nullopt when there is none. A checkpoint of another model is an error.
Result<std::optional<CheckpointInfo>> LoadNewestCheckpoint(ShardedPolicy& policy, const std::string& checkpoints);

}  // namespace candor
