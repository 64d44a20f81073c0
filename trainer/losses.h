// Losses as pure functions of one batch of tokens: LossInputs -> weighted sum, weight, gradient with respect to the new log-probabilities,
// and counts for the step's report. Nobody divides here and nobody communicates: a token's weight already holds its share of the global
// denominator (aggregation.h), which is known before the first backward.
//
// With A the advantage, p = new, o = old log-probability, r = exp(clamp(p - o, -20, 20)), and w = min(exp(o - rollout), tis_max), a
// constant:
//   ppo_clip, dr_grpo  w max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)); where A < 0 at most -A dual_clip        (verl core_algos.py;
//   Dr.GRPO differs in its aggregation) cispo              -min(r, clip_max) A p w, the ratio a constant (MiniMax-M1; ScaleRL's form
//   without a lower clip) rloo               -min(exp(p - rollout), tis_max) A p, the ratio a constant (1 when tis_max = 0) (REINFORCE; the
//   baseline is in A)
// `old` is the rollout's log-probability or the learner's own at the start of the step (option old_policy); in the first case w = 1.
// Pure, any thread.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "trainer/options.h"

namespace candor {

enum class PolicyLoss : uint8_t { kCispo = 0, kPpoClip = 1, kDrGrpo = 2, kRloo = 3 };

struct LossSettings {
  PolicyLoss loss = PolicyLoss::kCispo;
  bool old_is_rollout = true;
  double clip_low = 0.2, clip_high = 0.28, clip_max = 4.0;
  double dual_clip = 3.0;  // 0: none
  double tis_max = 2.0;    // 0: none
};
Result<LossSettings> CheckLoss(const TrainerOptions& options);

// One entry per token; a token of weight 0 is left out.
struct LossInputs {
  std::span<const float> new_log_probs_M;
  std::span<const float> rollout_log_probs_M;
  std::span<const float> advantages_M;
  std::span<const float> weights_M;
  std::span<const float> old_log_probs_M = {};  // empty: the new ones as they are now (first update of a step); ignored when old_is_rollout
};

struct LossCounts {
  double tokens = 0.0;
  double clipped = 0.0;  // tokens whose ratio was cut, so that the gradient vanishes (ppo) or is capped (cispo, rloo)
  double ratio_sum = 0.0;
  double ratio_max = 0.0;
  double tis_sum = 0.0;  // of w
};

struct LossOutputs {
  double sum = 0.0;               // of weight * loss
  double weight = 0.0;            // of weights
  std::vector<float> gradient_M;  // d sum / d new_log_probs
  LossCounts counts;
};
LossOutputs ComputePolicyLoss(const LossSettings& settings, const LossInputs& inputs);

// The slot: c = sigmoid(margin), margin = z_high - z_low.
struct SlotInputs {
  std::span<const float> margins_S;
  std::span<const float> targets_S;
  std::span<const float> weights_S;
};
struct SlotOutputs {
  double sum = 0.0;
  double weight = 0.0;
  std::vector<float> gradient_S;  // d sum / d margin
  std::vector<float> confidence_S;
};
// (c - t)^2, the Brier score against target t; gradient 2 (c - t) c (1 - c).
SlotOutputs ComputeSlotSquaredError(const SlotInputs& inputs);
// -t ln c - (1 - t) ln(1 - c), from the margin without overflow; gradient c - t.
SlotOutputs ComputeSlotCrossEntropy(const SlotInputs& inputs);

}  // namespace candor
