// Computes the summary.
#include "calibration/summary.h"

#include <algorithm>
#include <cmath>

#include "calibration/scoring_rules.h"
#include "calibration/smooth_ece.h"
#include "calibration/undefined.h"

namespace candor::calibration {
namespace {

constexpr Estimate kNoEstimate = {kNaN, kNaN, kNaN, {kNaN, kNaN}};

template <typename F>
double MeanOf(const Points& points, F value) {
  if (points.empty()) return kNaN;
  double sum = 0.0;
  for (const Point& point : points) sum += value(point);
  return sum / static_cast<double>(points.size());
}
double MeanBrier(const Points& points) {
  return MeanOf(points, [](const Point& x) { return BrierScore(x.p, x.y); });
}

// The mean of a quantity that lies within `range`, and so does its interval.
template <typename F>
ClusteredMean BoundedMeanOf(const Points& points, const Interval& range, F value) {
  std::vector<double> values;
  std::vector<uint64_t> clusters;
  for (const Point& point : points) values.push_back(value(point)), clusters.push_back(point.cluster);
  ClusteredMean mean = ComputeClusteredMean(values, clusters);
  mean.interval = {std::clamp(mean.interval.low, range.low, range.high), std::clamp(mean.interval.high, range.low, range.high)};
  return mean;
}

// Where all labels are alike their deviation is 0 and would claim certainty: Wilson's interval over the prompts takes its place.
ClusteredMean AccuracyOf(const Points& points) {
  ClusteredMean accuracy = BoundedMeanOf(points, {0.0, 1.0}, [](const Point& x) { return x.y; });
  if (accuracy.mean == 0.0 || accuracy.mean == 1.0)
    accuracy.interval = WilsonInterval(accuracy.mean * accuracy.clusters, accuracy.clusters);
  return accuracy;
}

void FillBinned(const Points& points, const SummaryOptions& options, CalibrationSummary* summary) {
  const Points independent = OnePerCluster(points);
  for (size_t k = 0; k < kEceBins.size(); ++k) {
    const Bins bins = EqualWidthBins(independent, kEceBins[k]);
    summary->ece[k] = Ece(EqualWidthBins(points, kEceBins[k]));
    summary->ece_independent[k] = Ece(bins);
    summary->ece_floor[k] = EceFloor(bins);
  }
  const EceNull null = options.null_quantile ? SimulateEceNull(independent, options.seed) : EceNull{kNaN, kNaN, kNaN, 0};
  summary->ece_null95 = {null.quantile95_10, null.quantile95_15, null.quantile95_20};
  summary->bins10 = EqualWidthBins(points, 10);
  const Bins bins15 = EqualWidthBins(points, 15);
  summary->oce = OverConfidence(bins15);
  summary->uce = UnderConfidence(bins15);
  summary->murphy10 = ComputeMurphy(summary->bins10);
  summary->murphy15 = ComputeMurphy(bins15);
  const SmoothEce smooth = options.smooth_ece ? ComputeSmoothEce(points) : SmoothEce{kNaN, kNaN};
  summary->smooth_ece = smooth.value;
  summary->smooth_ece_sigma = smooth.sigma;
  summary->ece_discrete = Ece(DiscreteBins(points));
  summary->ece_sweep = ComputeEceSweep(points).ece;
  summary->ece_debiased_l2_squared = DebiasedSquareGap(bins15).squared;
  summary->ecce = ComputeEcce(independent);
  summary->spiegelhalter = ComputeSpiegelhalter(independent);
  summary->e_process = RunEProcess(points);
}

void FillScores(const Points& points, CalibrationSummary* summary) {
  summary->brier = MeanBrier(points);
  summary->nll = MeanOf(points, [](const Point& x) { return LogScore(x.p, x.y); });
  summary->spherical = MeanOf(points, [](const Point& x) { return SphericalScore(x.p, x.y); });
  for (const Point& point : points) summary->clipped_mistakes += IsClippedMistake(point.p, point.y) ? 1 : 0;
  summary->corp = ComputeCorp(points);
  summary->brier_skill = summary->corp.unc > 0.0 ? 1.0 - summary->brier / summary->corp.unc : kNaN;
}

void FillRanking(const Points& points, const SummaryOptions& options, CalibrationSummary* summary) {
  const auto levels = LevelsOf(points);
  summary->auroc = Auroc(levels);
  summary->auprc_success = AuprcSuccess(points);
  summary->auprc_error = AuprcError(points);
  summary->aurc = Aurc(levels);
  summary->augrc = Augrc(levels);
  const double risk = 1.0 - summary->accuracy.mean;
  summary->augrc_optimal = 0.5 * risk * risk;
  summary->accuracy_at_coverage = {AccuracyAtCoverage(points, 0.5), AccuracyAtCoverage(points, 0.8), AccuracyAtCoverage(points, 0.9)};
  summary->coverage_at_risk = {CoverageAtRisk(points, 0.01), CoverageAtRisk(points, 0.05), CoverageAtRisk(points, 0.1)};
  summary->sharpness = ComputeSharpness(points);
  summary->confident_wrong = CountConfidentWrong(points);
  summary->estimates = {kNoEstimate, kNoEstimate, kNoEstimate, kNoEstimate, kNoEstimate};
  if (options.intervals) summary->estimates = BootstrapHeadline(points, {options.bootstrap_replicates, 0.95});
}

}  // namespace

CalibrationSummary ComputeSummary(const std::vector<Row>& rows, const SummaryOptions& options) {
  const Points points = PointsOf(rows), all = PointsOf(rows, 0.0);
  CalibrationSummary summary;
  summary.n = static_cast<int64_t>(points.size());
  summary.rows = static_cast<int64_t>(rows.size());
  summary.missing = summary.rows - summary.n;
  summary.prompts = static_cast<int64_t>(ClusterMembers(all).size());
  const ClusteredMean all_rows = AccuracyOf(all);
  summary.accuracy_all_rows = all_rows.mean;
  summary.accuracy_all_rows_interval = all_rows.interval;
  summary.brier_missing_as_0 = MeanBrier(all);
  summary.brier_missing_as_half = MeanBrier(PointsOf(rows, 0.5));
  summary.accuracy = AccuracyOf(points);
  summary.confidence = BoundedMeanOf(points, {0.0, 1.0}, [](const Point& x) { return x.p; });
  summary.gap = BoundedMeanOf(points, {-1.0, 1.0}, [](const Point& x) { return x.p - x.y; });
  summary.accuracy_wilson = WilsonInterval(summary.accuracy.mean * static_cast<double>(summary.n), static_cast<double>(summary.n));
  FillBinned(points, options, &summary);
  FillScores(points, &summary);
  FillRanking(points, options, &summary);
  return summary;
}

std::vector<SliceSummary> ComputeSlices(const std::vector<Row>& rows, const SummaryOptions& options) {
  std::vector<SliceSummary> slices;
  std::vector<double> p_values;
  for (const auto& [name, slice_rows] : RowsBySlice(rows)) {
    slices.push_back({name, ComputeSummary(slice_rows, options), 1.0});
    p_values.push_back(slices.back().summary.confident_wrong.p_value);
  }
  const auto adjusted = AdjustBenjaminiHochberg(p_values);
  for (size_t i = 0; i < slices.size(); ++i) slices[i].confident_wrong_adjusted = adjusted[i];
  return slices;
}

}  // namespace candor::calibration
