// Several differences at once. Pure.
#pragma once
#include <vector>

namespace candor::calibration {

// Holm's step-down (Holm 1979): with the p-values in ascending order, the k-th (from 0) of m becomes the largest of (m - j) p_j over j <=
// k, at most 1. In the order of `p`; values that are not finite count as 1 and stay in the family.
std::vector<double> HolmAdjusted(const std::vector<double>& p);

// The level at which Holm's procedure tests each of them: 1 - (1 - level) / (m - k) for the k-th smallest. An interval of that level
// excludes 0 where the test rejects, as far as all smaller ones did.
std::vector<double> HolmLevels(const std::vector<double>& p, double level);

// Two-sided p-value of a bootstrap: twice the smaller share of replicates on either side of 0 (0 itself on both), each counted with one
// more, at most 1. Replicates that are not finite count for nothing.
double BootstrapPValue(const std::vector<double>& deltas);

}  // namespace candor::calibration
