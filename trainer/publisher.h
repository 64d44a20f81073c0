// Published weights: RUN_DIR/weights/v<N>/ is a model folder (config.json, model.safetensors) with manifest.json, which lists every file
// with size and hash and is written last; the folder gets its name by one rename. Units are gathered one after the other and streamed to
// the file, so no rank ever holds the whole policy. Collective calls.
#pragma once
#include <string>

#include "model/policy_folder.h"
#include "proto/messages.h"
#include "trainer/sharded_policy.h"

namespace candor {

// Writes version `version` and removes all but the newest `keep` versions. The same answer on every rank.
Result<VersionInfo> PublishWeights(ShardedPolicy& policy, const std::string& run_dir, int64_t version, int64_t keep);

// A complete Hugging Face folder with tokenizer, model card and, where `confidence` is set, confidence.json: the averaged weights when
// there are any, else the present ones. Rank 0 holds the whole policy for it, in the compute format.
Status WriteFinalPolicy(ShardedPolicy& policy, const std::string& folder, const PolicyFolderOptions& options);

}  // namespace candor
