// Intervals: proportions (Wilson, Jeffreys, Clopper-Pearson), clustered means, the hash-Poisson cluster bootstrap for what is not a mean,
// and paired differences.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "calibration/ranking.h"
#include "calibration/rows.h"
#include "core/result.h"

namespace candor::calibration {

// NaN where undefined (no rows, one cluster).
struct Interval {
  double low = 0.0, high = 0.0;
};

Interval WilsonInterval(double successes, double n, double level = 0.95);
Interval JeffreysInterval(double successes, double n, double level = 0.95);
Interval ClopperPearsonInterval(double successes, double n, double level = 0.95);
// One-sided: the risk is below this with confidence 1 - delta.
double ClopperPearsonUpper(double failures, double n, double delta);

// Mean of correlated values: cluster-robust standard error (Miller, arXiv 2411.00640), t with C - 1 degrees of freedom.
struct ClusteredMean {
  double mean = 0.0;
  double standard_error = 0.0;
  double naive_standard_error = 0.0;  // as if rows were independent
  int clusters = 0;
  double icc1 = 0.0;  // share of variance between clusters (equal sizes; mean size otherwise)
  Interval interval;
};
ClusteredMean ComputeClusteredMean(const std::vector<double>& values, const std::vector<uint64_t>& clusters, double level = 0.95);

// Weight of a cluster in bootstrap replicate b >= 1: Poisson(1) by inverse distribution function of u01(splitmix64(splitmix64(id) ^ golden
// * b)). The same on every worker.
int PoissonWeight(uint64_t cluster, uint64_t replicate);

struct BootstrapOptions {
  int replicates = 200;
  double level = 0.95;
};
// value: on the data; corrected: 2 value - mean of the replicates (plug-in ECE is biased up); interval: basic, [2 value - q(high), 2 value
// - q(low)].
struct Estimate {
  double value = 0.0;
  double corrected = 0.0;
  double standard_error = 0.0;
  Interval interval;
};
// The headline metrics that are bootstrapped together, so that they share weights.
struct HeadlineMetrics {
  double brier = 0.0, auroc = 0.0, augrc = 0.0, ece10 = 0.0, ece15 = 0.0;
};
HeadlineMetrics ComputeHeadline(const Points& points);
struct HeadlineEstimates {
  Estimate brier, auroc, augrc, ece10, ece15;
};
// Intervals are cut at 0 and 1, where these metrics end.
HeadlineEstimates BootstrapHeadline(const Points& points, BootstrapOptions options = {});
// Every replicate's metrics, for tests and for other intervals.
std::vector<HeadlineMetrics> BootstrapReplicates(const Points& points, int replicates);
// The basic interval of any replicated number; NaN replicates (one class drawn) are left out, and more than half of them leave no interval.
Estimate EstimateFrom(double value, std::vector<double> replicates, double level);
double Percentile(std::vector<double> values, double share);  // linear interpolation

// b minus a over the same prompts: positive accuracy and AUROC, negative Brier and AUGRC are improvements of b.
struct Difference {
  double a = 0.0, b = 0.0, delta = 0.0;
  Interval interval;
  bool excludes_zero() const { return interval.low > 0.0 || interval.high < 0.0; }
};
struct PairedComparison {
  int prompts = 0;             // in both sets
  int without_confidence = 0;  // prompts left out of the confidence metrics because one of the sets states none
  Difference accuracy, brier, auroc, augrc, ece15, mean_confidence;
};
// Rows are matched by prompt; without prompts, by position (then both sets must be of one size). Accuracy and Brier: clustered t on
// per-prompt differences; AUROC, AUGRC and ECE: bootstrap with common weights. Prompts must be the same in both sets.
Result<PairedComparison> ComparePaired(const std::vector<Row>& rows_a, const std::vector<Row>& rows_b, BootstrapOptions options = {});

}  // namespace candor::calibration
