#include "trainer/corrections.h"

#include <algorithm>
#include <cmath>

namespace candor {

namespace {

constexpr double kMaxLogRatio = 20.0;

struct Means {
  double count = 0.0, importance = 0.0, disagreement = 0.0;  // sums
  double k2 = 0.0, k3 = 0.0;                                 // sums
};

Means SumSequence(const CorrectionInputs& in, size_t begin, size_t end) {
  Means sums;
  for (size_t i = begin; i < end; ++i) {
    if (in.weights_M[i] == 0.0f) continue;
    const double d = in.disagreement_M[i];
    sums.count += 1.0, sums.importance += in.importance_M[i], sums.disagreement += d;
    sums.k2 += 0.5 * d * d, sums.k3 += BoundedRatio(d) - d - 1.0;
  }
  return sums;
}

double Measure(RejectBy by, const Means& sums, double token) {
  switch (by) {
    case RejectBy::kNothing:
      return 0.0;
    case RejectBy::kToken:
      return BoundedRatio(token);
    case RejectBy::kSequence:
      return BoundedRatio(sums.disagreement);
    case RejectBy::kGeometric:
      return BoundedRatio(sums.disagreement / sums.count);
    case RejectBy::kK2:
      return sums.k2 / sums.count;
    case RejectBy::kK3:
      return sums.k3 / sums.count;
  }
  return 0.0;
}

}  // namespace

double BoundedRatio(double log_ratio) { return std::exp(std::clamp(log_ratio, -kMaxLogRatio, kMaxLogRatio)); }

Corrections ComputeCorrections(const CorrectionSettings& s, const CorrectionInputs& in) {
  const size_t m = in.weights_M.size();
  Corrections out;
  out.factor_M.assign(m, 1.0);
  if (s.tis_max <= 0.0 && s.reject == RejectBy::kNothing) return out;
  ForEachSequence(in.starts, m, [&](size_t begin, size_t end) {
    const Means sums = SumSequence(in, begin, end);
    for (size_t i = begin; i < end; ++i) {
      if (in.weights_M[i] == 0.0f) continue;
      const double log_weight = s.tis_level == TisLevel::kSequence ? sums.importance : in.importance_M[i];
      if (s.tis_max > 0.0) out.factor_M[i] = std::min(BoundedRatio(log_weight), s.tis_max);
      if (s.reject == RejectBy::kNothing) continue;
      const double measure = Measure(s.reject, sums, in.disagreement_M[i]);
      if (s.reject_low <= measure && measure <= s.reject_high) continue;
      out.factor_M[i] = 0.0;
      out.rejected += 1.0;
    }
  });
  return out;
}

}  // namespace candor
