#include "trainer/kl.h"

#include <cmath>

#include "core/check.h"
#include "trainer/corrections.h"

namespace candor {

double EstimateKl(KlEstimator estimator, double log_prob, double reference_log_prob) {
  const double d = log_prob - reference_log_prob;
  if (estimator == KlEstimator::kK1) return d;
  if (estimator == KlEstimator::kK2) return 0.5 * d * d;
  return BoundedRatio(-d) + d - 1.0;
}

KlOutputs ComputeKl(KlEstimator estimator, const KlInputs& in) {
  const size_t m = in.log_probs_M.size();
  CANDOR_CHECK(in.reference_M.size() == m && in.weights_M.size() == m, "arrays of one length");
  KlOutputs out;
  out.gradient_M.assign(m, 0.0f);
  for (size_t i = 0; i < m; ++i) {
    const double weight = in.weights_M[i];
    if (weight == 0.0) continue;
    const double p = in.log_probs_M[i], reference = in.reference_M[i], value = EstimateKl(estimator, p, reference);
    const double slope = estimator == KlEstimator::kK3 ? 1.0 - BoundedRatio(reference - p) : p - reference;
    out.sum += weight * value;
    out.kl += value, out.tokens += 1.0;
    out.gradient_M[i] = static_cast<float>(weight * slope);
  }
  return out;
}

}  // namespace candor
