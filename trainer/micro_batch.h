// One micro-batch of tasks as the model's packed batch, with everything the losses need per scored token, and the losses' gradients as the
// model's backward takes them. Legend: M scored tokens (completion tokens of the batch's answers, in order), S slots, E = 2 (high, low).
#pragma once
#include <vector>

#include "model/head.h"
#include "model/packed.h"
#include "trainer/kl.h"
#include "trainer/packing.h"
#include "trainer/report_sums.h"
#include "trainer/train_batch.h"

namespace candor {

struct LossContext {
  LossSettings loss;
  Aggregation aggregation = Aggregation::kPrompt;
  double length_norm = 1.0;
  Denominators all;        // of the whole step
  double kl_weight = 0.0;  // 0: no reference
  KlEstimator kl_estimator = KlEstimator::kK3;
  int64_t held_version = 0;  // the version whose weights the learner holds
  uint64_t draw = 0;         // coordinates of this micro-batch's random choices
};

struct LearnBatch {
  PackedGroups packed;
  std::vector<float> rollout_log_probs_M, rollout_entropy_M, advantages_M, weights_M;  // weight 0: no policy gradient
  std::vector<uint8_t> sampled_M;                                                      // 1 where the rollout recorded a log-probability
  std::vector<int64_t> lag_M;                                                          // held version minus the token's
  struct Slot {
    int64_t row = 0;  // index into M
    LossKind loss = LossKind::kSquaredError;
    float target = 0.0f, weight = 0.0f;  // weight with the denominator in it
  };
  std::vector<Slot> slots;
  std::vector<size_t> starts;  // first token of each trace, index into M
  struct Pair {
    std::vector<int64_t> chosen_C, rejected_R;  // rows, index into M
    double beta = 0.1, weight = 0.0;            // weight with the denominator in it
  };
  std::vector<Pair> pairs;
};

// Sizes of the tasks' prompts and answers, one item per task.
std::vector<PackItem> PackItemsOf(const std::vector<GroupTask>& tasks);
// How many tokens their prompts begin with alike.
int64_t CommonBeginningOf(const std::vector<GroupTask>& tasks);
Result<LearnBatch> MakeLearnBatch(const std::vector<GroupTask>& tasks, const MicroBatch& plan, const LossContext& context);
// A batch of two tokens that trains nothing.
Result<LearnBatch> MakeEmptyBatch();

struct TokenGradients {
  at::Tensor dlog_probs_M;  // fp32
  at::Tensor dselected_ME;  // fp32; undefined when nothing was selected
};
// Losses and their gradients; adds the batch's numbers to `sums`. `reference_M`: log-probabilities of the reference policy; undefined where
// neither a distance nor a preference asks for it.
TokenGradients ComputeTokenGradients(const LearnBatch& batch, const LossContext& context, const TokenScores& scores,
                                     const at::Tensor& reference_M, ReportSums& sums);

}  // namespace candor
