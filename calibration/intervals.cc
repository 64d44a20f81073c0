// Proportions, clustered means, and the hash-Poisson cluster bootstrap.
#include "calibration/intervals.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <unordered_map>

#include "calibration/distributions.h"
#include "calibration/undefined.h"
#include "core/rng.h"

namespace candor::calibration {
namespace {

// Points in descending order of confidence with everything a replicate needs precomputed; a replicate is then one pass.
struct Prepared {
  struct Item {
    double residual, squared, y;
    uint64_t cluster;
    int bin_60;
    bool starts_level;  // the first of its confidence
  };
  std::vector<Item> items;
  explicit Prepared(Points points) {
    std::stable_sort(points.begin(), points.end(), [](const Point& a, const Point& b) { return a.p > b.p; });
    for (size_t i = 0; i < points.size(); ++i) {
      const double residual = points[i].p - points[i].y;
      items.push_back({residual, residual * residual, points[i].y, points[i].cluster, BinOf(points[i].p, 60),
                       i == 0 || points[i].p != points[i - 1].p});
    }
  }
};

double EceOfResiduals(const double* residual_60, int bins, double n) {
  double sum = 0.0;
  for (int bin = 0, width = 60 / bins; bin < bins; ++bin)
    sum += std::abs(std::accumulate(residual_60 + bin * width, residual_60 + (bin + 1) * width, 0.0));
  return sum / n;
}

// One pass over levels from the surest down: AUROC by counting correct rows above (ties half), AUGRC from its closed form.
template <typename F>
HeadlineMetrics HeadlineOf(const Prepared& prepared, F weight) {
  double n = 0.0, correct = 0.0, squared = 0.0, residual_60[60] = {};
  double ordered = 0.0, level_correct = 0.0, level_wrong = 0.0, above_correct = 0.0;
  const auto close_level = [&] {
    ordered += above_correct * level_wrong + 0.5 * level_correct * level_wrong;
    above_correct += level_correct;
    level_correct = level_wrong = 0.0;
  };
  for (const Prepared::Item& item : prepared.items) {
    if (item.starts_level) close_level();
    const double w = weight(item);
    n += w;
    correct += w * item.y;
    squared += w * item.squared;
    residual_60[item.bin_60] += w * item.residual;
    level_correct += w * item.y;
    level_wrong += w * (1.0 - item.y);
  }
  close_level();
  if (!(n > 0.0)) return {kNaN, kNaN, kNaN, kNaN, kNaN};
  const double pairs = correct * (n - correct), accuracy = correct / n, risk = 1.0 - accuracy;
  const double auroc = pairs > 0.0 ? ordered / pairs : kNaN;
  const double augrc = (pairs > 0.0 ? (1.0 - auroc) * accuracy * risk : 0.0) + 0.5 * risk * risk;
  return {squared / n, auroc, augrc, EceOfResiduals(residual_60, 10, n), EceOfResiduals(residual_60, 15, n)};
}

Estimate Column(const HeadlineMetrics& value, const std::vector<HeadlineMetrics>& replicates, double HeadlineMetrics::*metric,
                double level) {
  std::vector<double> values;
  for (const HeadlineMetrics& replicate : replicates) values.push_back(replicate.*metric);
  Estimate estimate = EstimateFrom(value.*metric, std::move(values), level);
  estimate.corrected = std::isnan(estimate.corrected) ? kNaN : std::clamp(estimate.corrected, 0.0, 1.0);
  if (!std::isnan(estimate.interval.low))
    estimate.interval = {std::clamp(estimate.interval.low, 0.0, 1.0), std::clamp(estimate.interval.high, 0.0, 1.0)};
  return estimate;
}

}  // namespace

Interval WilsonInterval(double successes, double n, double level) {
  if (!(n > 0.0)) return {kNaN, kNaN};
  const double z = NormalQuantile(0.5 + level / 2.0), share = successes / n;
  const double center = (share + z * z / (2.0 * n)) / (1.0 + z * z / n);
  const double half = z / (1.0 + z * z / n) * std::sqrt(share * (1.0 - share) / n + z * z / (4.0 * n * n));
  return {std::max(0.0, center - half), std::min(1.0, center + half)};
}

Interval JeffreysInterval(double successes, double n, double level) {
  if (!(n > 0.0)) return {kNaN, kNaN};
  const double tail = (1.0 - level) / 2.0;
  return {BetaQuantile(successes + 0.5, n - successes + 0.5, tail), BetaQuantile(successes + 0.5, n - successes + 0.5, 1.0 - tail)};
}

Interval ClopperPearsonInterval(double successes, double n, double level) {
  if (!(n > 0.0)) return {kNaN, kNaN};
  const double tail = (1.0 - level) / 2.0;
  return {successes > 0.0 ? BetaQuantile(successes, n - successes + 1.0, tail) : 0.0, ClopperPearsonUpper(successes, n, tail)};
}

double ClopperPearsonUpper(double failures, double n, double delta) {
  if (!(n > 0.0)) return kNaN;
  return failures < n ? BetaQuantile(failures + 1.0, n - failures, 1.0 - delta) : 1.0;
}

ClusteredMean ComputeClusteredMean(const std::vector<double>& values, const std::vector<uint64_t>& clusters, double level) {
  const size_t n = values.size();
  ClusteredMean result;
  if (n == 0) return {kNaN, kNaN, kNaN, 0, kNaN, {kNaN, kNaN}};
  const double count = static_cast<double>(n);
  result.mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  struct Sum {
    double deviation = 0.0, size = 0.0;
  };
  std::vector<Sum> sums;
  std::unordered_map<uint64_t, size_t> index_of;
  double total_squares = 0.0;
  for (size_t i = 0; i < n; ++i) {
    const auto [it, is_new] = index_of.try_emplace(clusters[i], sums.size());
    if (is_new) sums.emplace_back();
    const double deviation = values[i] - result.mean;
    sums[it->second].deviation += deviation;
    sums[it->second].size += 1.0;
    total_squares += deviation * deviation;
  }
  const double c = static_cast<double>(sums.size());
  result.clusters = static_cast<int>(sums.size());
  double squares = 0.0, between = 0.0;
  for (const Sum& sum : sums) squares += sum.deviation * sum.deviation, between += sum.deviation * sum.deviation / sum.size;
  result.naive_standard_error = n > 1 ? std::sqrt(total_squares / (count - 1.0) / count) : kNaN;
  if (sums.size() < 2) {
    result.standard_error = result.icc1 = result.interval.low = result.interval.high = kNaN;
    return result;
  }
  result.standard_error = std::sqrt(c / (c - 1.0) * squares) / count;
  const double half = StudentQuantile(c - 1.0, 0.5 + level / 2.0) * result.standard_error;
  result.interval = {result.mean - half, result.mean + half};
  const double size = count / c, mean_square_between = between / (c - 1.0);
  const double mean_square_within = count > c ? (total_squares - between) / (count - c) : kNaN;
  result.icc1 = (mean_square_between - mean_square_within) / (mean_square_between + (size - 1.0) * mean_square_within);
  return result;
}

int PoissonWeight(uint64_t cluster, uint64_t replicate) {
  const double u = ToUnit(SplitMix64(SplitMix64(cluster) ^ (0x9E3779B97F4A7C15ull * replicate)));
  constexpr double kExpMinusOne = 0.36787944117144233;
  double term = kExpMinusOne, sum = term;
  int weight = 0;
  while (u >= sum && weight < 32) {
    ++weight;
    term /= weight;
    sum += term;
  }
  return weight;
}

double Percentile(std::vector<double> values, double share) {
  if (values.empty()) return kNaN;
  std::sort(values.begin(), values.end());
  const double at = share * static_cast<double>(values.size() - 1);
  const size_t left = std::min(static_cast<size_t>(at), values.size() - 1), right = std::min(left + 1, values.size() - 1);
  return values[left] + (at - static_cast<double>(left)) * (values[right] - values[left]);
}

Estimate EstimateFrom(double value, std::vector<double> replicates, double level) {
  const size_t asked = replicates.size();
  std::erase_if(replicates, [](double x) { return std::isnan(x); });
  if (std::isnan(value) || replicates.size() < 2 || 2 * replicates.size() < asked) return {value, kNaN, kNaN, {kNaN, kNaN}};
  const double n = static_cast<double>(replicates.size());
  const double mean = std::accumulate(replicates.begin(), replicates.end(), 0.0) / n;
  double squares = 0.0;
  for (double x : replicates) squares += (x - mean) * (x - mean);
  const double tail = (1.0 - level) / 2.0;
  const double low = Percentile(replicates, tail), high = Percentile(replicates, 1.0 - tail);
  return {value, 2.0 * value - mean, std::sqrt(squares / (n - 1.0)), {2.0 * value - high, 2.0 * value - low}};
}

HeadlineMetrics ComputeHeadline(const Points& points) {
  return HeadlineOf(Prepared(points), [](const Prepared::Item&) { return 1.0; });
}

std::vector<HeadlineMetrics> BootstrapReplicates(const Points& points, int replicates) {
  const Prepared prepared(points);
  std::vector<HeadlineMetrics> result;
  for (int b = 1; b <= replicates; ++b)
    result.push_back(HeadlineOf(prepared, [&](const Prepared::Item& item) { return static_cast<double>(PoissonWeight(item.cluster, b)); }));
  return result;
}

HeadlineEstimates BootstrapHeadline(const Points& points, BootstrapOptions options) {
  const HeadlineMetrics value = ComputeHeadline(points);
  const auto replicates = BootstrapReplicates(points, options.replicates);
  const auto column = [&](double HeadlineMetrics::*metric) { return Column(value, replicates, metric, options.level); };
  return {column(&HeadlineMetrics::brier), column(&HeadlineMetrics::auroc), column(&HeadlineMetrics::augrc),
          column(&HeadlineMetrics::ece10), column(&HeadlineMetrics::ece15)};
}

}  // namespace candor::calibration
