// How a learner begins: model, number format, slot tokens, and the weights of the newest checkpoint or of the model folder. A collective
// call.
#pragma once
#include <memory>
#include <optional>

#include "core/ids.h"
#include "model/policy_folder.h"
#include "text/prompt.h"
#include "trainer/learner.h"
#include "trainer/checkpoint.h"
#include "trainer/sharded_policy.h"

namespace candor {

struct StartedPolicy {
  std::unique_ptr<ShardedPolicy> policy;
  int64_t step = 0;  // steps that the weights have behind them
  std::optional<CheckpointInfo> checkpoint;  // what they were loaded from; nullopt: the model's folder
  std::optional<SlotTokens> slot;
  Incarnation incarnation;             // of this life of the learner, the same on all ranks
  PolicyFolderOptions folder_options;  // for the final policy
};
Result<StartedPolicy> StartPolicy(const TrainerSetup& setup, Collective& collective);

// The number format of a run: rank 0 resolves "auto" and tells the others; deterministic mode is fp32.
Result<DType> AgreeOnDType(const std::string& name, bool deterministic, Collective& collective);
// The slot's tokens when the format has one.
Result<std::optional<SlotTokens>> SlotOf(const FormatOptions& format, const Tokenizer& tokenizer);
// What confidence.json says about that slot.
ConfidenceSpec ConfidenceSpecOf(const FormatOptions& format, const SlotTokens& slot);

}  // namespace candor
