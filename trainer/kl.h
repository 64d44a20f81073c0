// Distance from a reference policy, estimated from the tokens that were sampled. With d = log p - log p_reference of a token (Schulman,
// "Approximating KL divergence"):
//   k1  d                    unbiased, high variance, may be negative
//   k2  d^2 / 2              low variance, biased
//   k3  exp(-d) + d - 1      unbiased, never negative (verl: low_var_kl)
// As a term of the loss, only k2 has the gradient of the reverse KL at sampled tokens, d * grad log p. The gradient of k1 is grad log p,
// whose mean is zero: it would hold nothing back. So k1 enters as it does when it is subtracted from the reward: as -d * log p with d a
// constant, which is k2's gradient. Pure, any thread.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace candor {

enum class KlEstimator : uint8_t { kK1 = 1, kK2 = 2, kK3 = 3 };

double EstimateKl(KlEstimator estimator, double log_prob, double reference_log_prob);

struct KlInputs {
  std::span<const float> log_probs_M;
  std::span<const float> reference_M;
  std::span<const float> weights_M;  // 0: left out
};
struct KlOutputs {
  double sum = 0.0;               // of weight * estimate
  double kl = 0.0, tokens = 0.0;  // sum of estimates and how many, unweighted
  std::vector<float> gradient_M;  // d sum / d log_probs; for k1 see above
};
KlOutputs ComputeKl(KlEstimator estimator, const KlInputs& inputs);

}  // namespace candor
