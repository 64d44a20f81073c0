// How a learner begins: model, number format, slot tokens, and the weights of the newest checkpoint or of the model folder. A collective
// call.
#pragma once
#include <memory>
#include <optional>

#include "core/ids.h"
#include "model/parameters.h"
#include "model/policy_folder.h"
#include "text/prompt.h"
#include "trainer/checkpoint.h"
#include "trainer/learner.h"
#include "trainer/sharded_policy.h"

namespace candor {

// Weights that never change, whole on every rank, as `policy` computes with them.
Result<std::unique_ptr<Parameters>> LoadReference(const std::string& folder, const ShardedPolicy& policy, Collective& collective);

// Where the ranks compute and in which number format: all on CPUs or all on GPUs, each rank on its own; rank 0 resolves dtype = "auto" and
// tells the others; deterministic mode is fp32 on the CPU. Several ranks on GPUs get a collective for their tensors, while `collective`
// goes on carrying texts and votes: NCCL, bootstrapped over it, or copies through host memory where ranks share a GPU.
struct Placement {
  at::Device device = at::kCPU;
  DType dtype = DType::kFp32;
  std::unique_ptr<Collective> tensors;  // null: `collective` carries them
};
Result<Placement> PlaceLearner(const std::string& device, const std::string& dtype, bool deterministic, Collective& collective);

struct StartedPolicy {
  Placement placement;
  std::unique_ptr<ShardedPolicy> policy;
  int64_t step = 0;                          // steps that the weights have behind them
  std::optional<CheckpointInfo> checkpoint;  // what they were loaded from; nullopt: the model's folder
  std::optional<SlotTokens> slot;
  Incarnation incarnation;             // of this life of the learner, the same on all ranks
  PolicyFolderOptions folder_options;  // for the final policy
};
Result<StartedPolicy> StartPolicy(const TrainerSetup& setup, Collective& collective);

// The policy with its optimizer state where `placement` says; an error when it does not fit there.
Result<std::unique_ptr<ShardedPolicy>> MakePolicy(const ModelConfig& config, Sharding sharding, bool average, const Placement& placement,
                                                  Collective& collective);
// The slot's tokens when the format has one.
Result<std::optional<SlotTokens>> SlotOf(const FormatOptions& format, const Tokenizer& tokenizer);
// What confidence.json says about that slot.
ConfidenceSpec ConfidenceSpecOf(const FormatOptions& format, const SlotTokens& slot);

}  // namespace candor
