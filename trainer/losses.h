// Losses as pure functions of one batch of tokens: LossInputs -> weighted sum, weight, gradient with respect to the new log-probabilities,
// and counts for the step's report. Nobody divides here and nobody communicates: a token's weight already holds its share of the global
// denominator (aggregation.h), which is known before the first backward.
//
// With A the advantage, p = new, o = old log-probability, r = exp(clamp(p - o, -20, 20)), and w a constant weight from corrections.h:
//   ppo_clip       w max(-A r, -A clip(r, 1 - clip_low, 1 + clip_high)); where A < 0 at most -A dual_clip     (verl core_algos.py)
//   dr_grpo        the same; it differs in its aggregation
//   decoupled_ppo  the same with an old policy between the rollout's and the learner's, and w from old - rollout  (AReaL functional.py)
//   cispo          -min(r, clip_max) A p w, the ratio a constant (MiniMax-M1; ScaleRL's form without a lower clip)
//   rloo           -w A p with w from p - rollout (REINFORCE; the baseline is in A)
//   gspo           ppo_clip with the sequence's ratio s = exp(mean of p - o) in place of r, no dual clip   (arXiv 2507.18071, token form)
//   sapo           -A sigmoid(t (r - 1)) 4 / t, t = sapo_positive where A > 0, else sapo_negative          (soft gate instead of a clip)
//   clip_cov       ppo_clip, but a few tokens of high covariance lose their gradient                       (token_covariance.h)
//   kl_cov         -A r, and b |p - o| on the tokens of highest covariance, b = cov_kl                     (token_covariance.h)
// `old` is the rollout's log-probability, the learner's own at the start of the step, or what lies between by age (option old_policy): of
// L versions that the rollout is behind, the old policy is one behind, log p = rollout + (L - 1) / L (p - rollout). In the first case w
// = 1. Pure, any thread.
#pragma once
#include <span>
#include <string>
#include <vector>

#include "core/result.h"
#include "trainer/corrections.h"
#include "trainer/options.h"

namespace candor {

enum class PolicyLoss : uint8_t {
  kCispo = 0,
  kPpoClip = 1,
  kDrGrpo = 2,
  kRloo = 3,
  kGspo = 4,
  kSapo = 5,
  kDecoupledPpo = 6,
  kClipCov = 7,
  kKlCov = 8
};
enum class OldPolicy : uint8_t { kRollout = 0, kLearner = 1, kInterpolated = 2 };

struct LossSettings {
  PolicyLoss loss = PolicyLoss::kCispo;
  OldPolicy old_policy = OldPolicy::kRollout;
  double clip_low = 0.2, clip_high = 0.28, clip_max = 4.0;
  double dual_clip = 3.0;  // 0: none
  double sapo_positive = 1.0, sapo_negative = 1.05;
  double cov_fraction = 2e-4, cov_low = 1.0, cov_high = 5.0, cov_kl = 1.0;
  CorrectionSettings correction;
};
Result<LossSettings> CheckLoss(const TrainerOptions& options);

// One entry per token; a token of weight 0 is left out.
struct LossInputs {
  std::span<const float> new_log_probs_M;
  std::span<const float> rollout_log_probs_M;
  std::span<const float> advantages_M;
  std::span<const float> weights_M;
  std::span<const size_t> starts = {};          // first token of each sequence, ascending; empty: one sequence
  std::span<const int64_t> lag_M = {};          // versions that the rollout was behind; empty: none
  uint64_t draw = 0;                            // coordinates of clip_cov's choice
  std::span<const float> old_log_probs_M = {};  // empty: the new ones as they are now (first update of a step); read for kLearner alone
};

struct LossCounts {
  double tokens = 0.0;
  double clipped = 0.0;  // tokens whose ratio was cut, so that the gradient vanishes (ppo) or is capped (cispo, rloo)
  double ratio_sum = 0.0;
  double ratio_max = 0.0;
  double tis_sum = 0.0;   // of w
  double rejected = 0.0;  // tokens that corrections.h rejected
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
