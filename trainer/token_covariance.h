// Which tokens drive the entropy down: those where the advantage and the log-probability are high together (arXiv 2505.22617). A token's
// covariance is (A - mean A)(p - mean p), means over the tokens of the call. Pure, any thread; "the call" is one micro-batch, as in verl,
// so that the choice depends on how a step is packed.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace candor {

struct CovarianceInputs {
  std::span<const float> log_probs_M;
  std::span<const float> advantages_M;
  std::span<const float> weights_M;  // 0: not a token of the loss
};

// 0 where the weight is 0.
std::vector<double> ComputeTokenCovariances(const CovarianceInputs& inputs);

// Clip-Cov: of the tokens with low < covariance < high for which may_M holds, fraction * (tokens of the loss) at random, at least 1. The
// draw is a function of `draw` and the token's place. Element i is 1 where token i was chosen.
struct ClipCovChoice {
  double fraction = 2e-4, low = 1.0, high = 5.0;
  uint64_t draw = 0;
};
std::vector<uint8_t> ChooseClipCov(const ClipCovChoice& choice, const CovarianceInputs& inputs, std::span<const uint8_t> may_M);

// KL-Cov: the fraction of tokens with the largest covariance, at least 1; ties go to the earlier token.
std::vector<uint8_t> ChooseKlCov(double fraction, const CovarianceInputs& inputs);

}  // namespace candor
