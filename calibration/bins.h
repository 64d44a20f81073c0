// Binned calibration: exact integer bins, the ECE family, the Murphy split, the noise floor.
// A confidence's bin is min(M - 1, nano(p) * M / 1e9) in integers: bins are [lo, hi), the last one closed. Floating edges put 0.3, 0.6 and
// 0.7 one bin down, so that libraries disagree by 0.06 on twenty points. Every function over bins is undefined (NaN) when there is nothing
// in them.
#pragma once
#include <cstdint>
#include <vector>

#include "calibration/rows.h"

namespace candor::calibration {

// Sums over the points of one bin.
struct Bin {
  double n = 0.0;
  double sum_p = 0.0, sum_y = 0.0, sum_pp = 0.0, sum_py = 0.0, sum_yy = 0.0;
  void Add(double p, double y, double weight = 1.0) {
    n += weight, sum_p += weight * p, sum_y += weight * y, sum_pp += weight * p * p, sum_py += weight * p * y, sum_yy += weight * y * y;
  }
  double mean_p() const { return sum_p / n; }
  double mean_y() const { return sum_y / n; }
  double gap() const { return (sum_p - sum_y) / n; }  // over-confident when positive
};
using Bins = std::vector<Bin>;

constexpr int64_t kNano = 1'000'000'000;
// p rounded half to even to units of 1e-9.
int64_t NanoOf(double p);
constexpr int BinOfNano(int64_t nano, int bins) { return nano >= kNano ? bins - 1 : static_cast<int>(nano * bins / kNano); }
inline int BinOf(double p, int bins) { return BinOfNano(NanoOf(p), bins); }

Bins EqualWidthBins(const Points& points, int bins);
// Sorted by (p, index); point i goes to bin floor(i * M / n). Ties may be split.
Bins EqualMassBins(const Points& points, int bins);
// Equal-mass bins whose edges are midpoints between neighbours, so that ties stay together (uncertainty-calibration's get_equal_bins).
Bins MidpointBins(const Points& points, int bins);
// One bin per distinct confidence: what to use for verbalised confidences.
Bins DiscreteBins(const Points& points);

// sum over bins of n_b / n * |mean p - mean y|.
double Ece(const Bins& bins);
double OverConfidence(const Bins& bins);                 // OCE: the part of the ECE where p > y
double UnderConfidence(const Bins& bins);                // UCE; ECE = OCE + UCE, signed gap = OCE - UCE
double SignedGap(const Bins& bins);                      // mean p - mean y
double MaxGap(const Bins& bins, double min_count = 10);  // MCE over bins of at least min_count; NaN when there is none
double AverageGap(const Bins& bins);                     // unweighted mean of the bins' gaps (what netcal calls ACE)
double RootMeanSquareGap(const Bins& bins);

struct DebiasedL2 {
  double squared = 0.0;  // signed: average this one over time
  double value = 0.0;    // sqrt(max(squared, 0))
};
// Squared gaps minus their sampling variance (Kumar, Liang & Ma 2019).
DebiasedL2 DebiasedSquareGap(const Bins& bins);

struct EceSweep {
  int bins = 1;
  double ece = 0.0;
  double root_mean_square = 0.0;
};
inline constexpr size_t kMaxSweepBins = 1000;  // labels that never decrease would otherwise cost the square of the number of rows
// The largest M whose equal-mass means of y do not decrease, and neither did any smaller M's (Roelofs et al. 2022).
EceSweep ComputeEceSweep(const Points& points);

// Brier = reliability - resolution + uncertainty + within_variance - within_covariance, exactly. Uncertainty is the variance of the labels,
// which is a (1 - a) at accuracy a when they are 0 or 1.
struct Murphy {
  double reliability = 0.0, resolution = 0.0, uncertainty = 0.0;
  double within_variance = 0.0;    // WBV: variance of p inside bins
  double within_covariance = 0.0;  // WBC: twice the covariance of p and y inside bins
  double generalized_resolution() const { return resolution - within_variance + within_covariance; }
  double brier() const { return reliability - resolution + uncertainty + within_variance - within_covariance; }
};
Murphy ComputeMurphy(const Bins& bins);

// What an exactly calibrated model would show in expectation: sum_b sqrt(2 / pi) sqrt(sum p (1 - p)) / n (half-normal approximation). The
// labels must be independent given the confidences: give one point per prompt.
double EceFloor(const Bins& bins);

struct EceNull {
  double quantile95_10 = 0.0, quantile95_15 = 0.0, quantile95_20 = 0.0;
  int replicates = 0;
};
// The 95 % quantile of the ECE of an exactly calibrated model with these confidences: labels are redrawn y ~ Bernoulli(p) with
// counter-based numbers (same seed, same answer). Fewer replicates for larger sets, at least 200.
EceNull SimulateEceNull(const Points& points, uint64_t seed = 0);

}  // namespace candor::calibration
