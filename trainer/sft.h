// Supervised fine-tuning: cross-entropy on completion tokens, and on labelled rows the slot's regression with the completion as anchor.
// Same sharding and optimizer as reinforcement learning. Loss of a step = anchored token loss / (sum of part weights) + slot_weight * mean
// slot loss, both over all ranks. Collective calls.
#pragma once
#include <atomic>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "model/policy_pass.h"
#include "text/prompt.h"
#include "trainer/options.h"
#include "trainer/sft_rows.h"
#include "trainer/sharded_policy.h"

namespace candor {

struct SftStepResult {
  double loss = 0.0, token_loss = 0.0, slot_loss = 0.0, slot_confidence = 0.0;
  double grad_norm = 0.0, lr = 0.0;
  double rows = 0.0;  // rows of the model's batches, all ranks
  bool skipped = false;
  std::string why;
};

class SftStepper {
 public:
  SftStepper(const SftOptions& options, int64_t total_steps, const std::optional<SlotTokens>& slot, bool deterministic,
             ShardedPolicy& policy);
  // `examples` of all ranks: each rank takes every size()-th.
  Result<SftStepResult> Run(int64_t step, const std::vector<const SftExample*>& examples);

 private:
  SftOptions options_;
  int64_t total_steps_;
  std::vector<int32_t> extra_ids_;
  ShardedPolicy& policy_;
  PolicyPass pass_;
};

struct SftSetup {
  std::string model_folder, out_folder;
  std::string base_model, recipe_toml;  // for the model card
  std::string device = "auto";
  std::string dtype = "auto";
  bool deterministic = false;
  uint64_t seed = 1;
  FormatOptions format;
  SftOptions options;
  const DataSet* rows = nullptr;
  const std::atomic<bool>* stop = nullptr;
  std::string keep_folder;  // where a stop, and every ten minutes, leave a checkpoint; a start goes on from it; "": nothing is kept
  std::function<void(int64_t step, int64_t total, const SftStepResult&)> progress;  // rank 0; may be empty
};
// How many steps it will take.
int64_t SftSteps(const SftOptions& options, size_t rows);
// Trains and writes `out_folder` as a Hugging Face folder (averaged weights when ema_decay > 0). One that was stopped and goes on from its
// keep_folder ends with the same bits as one that was not; the folder is removed at the end. The caller sees to it that what is kept
// belongs to the same rows and settings.
Status RunSupervised(const SftSetup& setup, Collective& collective);

}  // namespace candor
