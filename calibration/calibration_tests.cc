// ECCE, Spiegelhalter, Poisson-binomial tails, Benjamini-Hochberg.
#include "calibration/calibration_tests.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "calibration/distributions.h"
#include "calibration/undefined.h"

namespace candor::calibration {
Ecce ComputeEcce(const Bins& bins) {
  double n = 0.0, sum = 0.0, low = 0.0, high = 0.0, variance = 0.0;
  for (const Bin& bin : bins) n += bin.n;
  if (!(n > 0.0)) return {kNaN, kNaN, kNaN};
  for (const Bin& bin : bins) {
    sum += (bin.sum_y - bin.sum_p) / n;
    low = std::min(low, sum);
    high = std::max(high, sum);
    variance += bin.sum_p - bin.sum_pp;
  }
  const double sigma = std::sqrt(std::max(variance, 0.0)) / n, range = high - low;
  if (!(sigma > 0.0)) return {range, kNaN, kNaN};  // every confidence is 0 or 1: nothing random under calibration
  return {range, range / sigma, BrownianRangeTail(range / sigma)};
}

Ecce ComputeEcce(const Points& points) {
  Points sorted = points;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Point& a, const Point& b) { return a.p < b.p; });
  Bins singles(sorted.size());
  for (size_t i = 0; i < sorted.size(); ++i) singles[i].Add(sorted[i].p, sorted[i].y);
  return ComputeEcce(singles);
}

Spiegelhalter ComputeSpiegelhalter(const Points& points) {
  double sum = 0.0, variance = 0.0;
  for (const Point& point : points) {
    const double slope = 1.0 - 2.0 * point.p;
    sum += (point.y - point.p) * slope;
    variance += slope * slope * point.p * (1.0 - point.p);
  }
  if (!(variance > 0.0)) return {kNaN, kNaN};
  const double z = sum / std::sqrt(variance);
  return {z, 2.0 * NormalTail(std::abs(z))};
}

double PoissonBinomialTail(const std::vector<double>& probabilities, int k) {
  if (k <= 0) return 1.0;
  const size_t n = probabilities.size();
  if (static_cast<size_t>(k) > n) return 0.0;
  if (static_cast<double>(n) * k > 1e8) {
    double mean = 0.0, variance = 0.0;
    for (double p : probabilities) mean += p, variance += p * (1.0 - p);
    if (!(variance > 0.0)) return k <= mean ? 1.0 : 0.0;
    return NormalTail((k - 0.5 - mean) / std::sqrt(variance));
  }
  // below_K[j] = P(exactly j successes so far) for j < k; reached = P(k were reached), summed as it happens so that tiny tails keep their
  // digits.
  std::vector<double> below_K(k, 0.0);
  below_K[0] = 1.0;
  double reached = 0.0;
  for (double p : probabilities) {
    reached += below_K[k - 1] * p;
    for (int j = k - 1; j > 0; --j) below_K[j] = below_K[j] * (1.0 - p) + below_K[j - 1] * p;
    below_K[0] *= 1.0 - p;
  }
  return reached;
}

ConfidentWrong CountConfidentWrong(const Points& points, double tau) {
  ConfidentWrong result;
  std::vector<double> wrong_probability;
  const int64_t threshold = NanoOf(tau);
  for (const Point& point : OnePerCluster(points)) {
    if (NanoOf(point.p) < threshold) continue;
    ++result.confident;
    if (point.y < 0.5) ++result.wrong;
    wrong_probability.push_back(1.0 - point.p);
    result.expected += 1.0 - point.p;
  }
  result.p_value = PoissonBinomialTail(wrong_probability, result.wrong);
  return result;
}

std::vector<double> AdjustBenjaminiHochberg(const std::vector<double>& p_values) {
  const size_t n = p_values.size();
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p_values[a] < p_values[b]; });
  std::vector<double> adjusted(n);
  double smallest = 1.0;
  for (size_t rank = n; rank > 0; --rank) {
    smallest = std::min(smallest, p_values[order[rank - 1]] * static_cast<double>(n) / static_cast<double>(rank));
    adjusted[order[rank - 1]] = smallest;
  }
  return adjusted;
}

}  // namespace candor::calibration
