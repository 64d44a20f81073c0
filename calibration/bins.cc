// Binning and everything computed from bins.
#include "calibration/bins.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "calibration/undefined.h"
#include "core/rng.h"

namespace candor::calibration {
namespace {

double TotalCount(const Bins& bins) {
  return std::accumulate(bins.begin(), bins.end(), 0.0, [](double sum, const Bin& bin) { return sum + bin.n; });
}

// sum over bins of term(bin) / n; NaN when there is nothing.
template <typename F>
double MeanOver(const Bins& bins, F term) {
  const double total = TotalCount(bins);
  if (!(total > 0.0)) return kNaN;
  double sum = 0.0;
  for (const Bin& bin : bins)
    if (bin.n > 0.0) sum += term(bin);
  return sum / total;
}

Points SortedByConfidence(Points points) {
  std::stable_sort(points.begin(), points.end(), [](const Point& a, const Point& b) { return a.p < b.p; });
  return points;
}

Bins EqualMassOfSorted(const Points& sorted, int bins) {
  Bins result(std::max(bins, 1));
  for (size_t i = 0; i < sorted.size(); ++i) result[i * result.size() / sorted.size()].Add(sorted[i].p, sorted[i].y);
  return result;
}

// Sums of the first i points, so that a bin of any partition costs two look-ups.
struct Prefix {
  std::vector<Bin> sums{Bin{}};
  explicit Prefix(const Points& sorted) {
    for (const Point& point : sorted) {
      sums.push_back(sums.back());
      sums.back().Add(point.p, point.y);
    }
  }
  size_t size() const { return sums.size() - 1; }
};

// Equal-mass means of y do not decrease; bin b holds the points i with i * bins / n == b.
bool MeansIncrease(const Prefix& prefix, size_t bins) {
  double last = -1.0;
  for (size_t b = 0; b < bins; ++b) {
    const size_t begin = (b * prefix.size() + bins - 1) / bins, end = ((b + 1) * prefix.size() + bins - 1) / bins;
    if (begin == end) continue;
    const double mean = (prefix.sums[end].sum_y - prefix.sums[begin].sum_y) / static_cast<double>(end - begin);
    if (mean < last) return false;
    last = mean;
  }
  return true;
}

}  // namespace

int64_t NanoOf(double p) { return std::llrint(p * 1e9); }

Bins EqualWidthBins(const Points& points, int bins) {
  Bins result(bins);
  for (const Point& point : points) result[BinOf(point.p, bins)].Add(point.p, point.y);
  return result;
}

Bins EqualMassBins(const Points& points, int bins) { return EqualMassOfSorted(SortedByConfidence(points), bins); }

Bins MidpointBins(const Points& points, int bins) {
  const Points sorted = SortedByConfidence(points);
  const size_t n = sorted.size(), parts = std::clamp<size_t>(bins, 1, std::max<size_t>(n, 1));
  // The first n % parts parts hold one point more.
  std::vector<double> upper_edges;
  size_t begin = 0;
  for (size_t part = 0; part + 1 < parts; ++part) {
    begin += n / parts + (part < n % parts ? 1 : 0);
    upper_edges.push_back((sorted[begin - 1].p + sorted[begin].p) / 2);
  }
  upper_edges.push_back(1.0);
  upper_edges.erase(std::unique(upper_edges.begin(), upper_edges.end()), upper_edges.end());
  Bins result(upper_edges.size());
  for (const Point& point : sorted) {
    const auto edge = std::lower_bound(upper_edges.begin(), upper_edges.end(), point.p);
    result[std::min<size_t>(edge - upper_edges.begin(), result.size() - 1)].Add(point.p, point.y);
  }
  return result;
}

Bins DiscreteBins(const Points& points) {
  Bins result;
  double last = kNaN;
  for (const Point& point : SortedByConfidence(points)) {
    if (result.empty() || point.p != last) result.emplace_back();
    result.back().Add(point.p, point.y);
    last = point.p;
  }
  return result;
}

double Ece(const Bins& bins) {
  return MeanOver(bins, [](const Bin& bin) { return std::abs(bin.sum_p - bin.sum_y); });
}
double OverConfidence(const Bins& bins) {
  return MeanOver(bins, [](const Bin& bin) { return std::max(bin.sum_p - bin.sum_y, 0.0); });
}
double UnderConfidence(const Bins& bins) {
  return MeanOver(bins, [](const Bin& bin) { return std::max(bin.sum_y - bin.sum_p, 0.0); });
}
double SignedGap(const Bins& bins) {
  return MeanOver(bins, [](const Bin& bin) { return bin.sum_p - bin.sum_y; });
}

double MaxGap(const Bins& bins, double min_count) {
  double max = kNaN;
  for (const Bin& bin : bins)
    if (bin.n > 0.0 && bin.n >= min_count) max = std::fmax(max, std::abs(bin.gap()));
  return max;
}

double AverageGap(const Bins& bins) {
  double sum = 0.0, filled = 0.0;
  for (const Bin& bin : bins)
    if (bin.n > 0.0) sum += std::abs(bin.gap()), filled += 1.0;
  return filled > 0.0 ? sum / filled : kNaN;
}

double RootMeanSquareGap(const Bins& bins) {
  return std::sqrt(MeanOver(bins, [](const Bin& bin) { return bin.n * bin.gap() * bin.gap(); }));
}

DebiasedL2 DebiasedSquareGap(const Bins& bins) {
  const double squared = MeanOver(bins, [](const Bin& bin) {
    if (bin.n < 2.0) return 0.0;
    return bin.n * (bin.gap() * bin.gap() - bin.mean_y() * (1.0 - bin.mean_y()) / (bin.n - 1.0));
  });
  return {squared, std::isnan(squared) ? kNaN : std::sqrt(std::max(squared, 0.0))};
}

EceSweep ComputeEceSweep(const Points& points) {
  if (points.empty()) return {0, kNaN, kNaN};
  const Points sorted = SortedByConfidence(points);
  int best = 1;
  const Prefix prefix(sorted);
  for (int bins = 2; bins <= static_cast<int>(std::min<size_t>(sorted.size(), kMaxSweepBins)); ++bins) {
    if (!MeansIncrease(prefix, bins)) break;
    best = bins;
  }
  const Bins bins = EqualMassOfSorted(sorted, best);
  return {best, Ece(bins), RootMeanSquareGap(bins)};
}

Murphy ComputeMurphy(const Bins& bins) {
  const double base = MeanOver(bins, [](const Bin& bin) { return bin.sum_y; });
  Murphy murphy;
  murphy.uncertainty = MeanOver(bins, [](const Bin& bin) { return bin.sum_yy; }) - base * base;
  murphy.reliability = MeanOver(bins, [](const Bin& bin) { return bin.n * bin.gap() * bin.gap(); });
  murphy.resolution = MeanOver(bins, [&](const Bin& bin) { return bin.n * (bin.mean_y() - base) * (bin.mean_y() - base); });
  murphy.within_variance = MeanOver(bins, [](const Bin& bin) { return bin.sum_pp - bin.sum_p * bin.sum_p / bin.n; });
  murphy.within_covariance = 2.0 * MeanOver(bins, [](const Bin& bin) { return bin.sum_py - bin.sum_p * bin.sum_y / bin.n; });
  return murphy;
}

double EceFloor(const Bins& bins) {
  return MeanOver(bins,
                  [](const Bin& bin) { return std::sqrt(2.0 / std::numbers::pi) * std::sqrt(std::max(bin.sum_p - bin.sum_pp, 0.0)); });
}

EceNull SimulateEceNull(const Points& points, uint64_t seed) {
  const size_t n = points.size();
  if (n == 0) return {kNaN, kNaN, kNaN, 0};
  constexpr int kFine = 60;  // 10, 15 and 20 divide it: one histogram of residuals serves all three
  const int replicates = static_cast<int>(std::clamp<size_t>(4'000'000 / n, 200, 1000));
  std::vector<int> fine_n(n);
  std::vector<uint64_t> key_n(n);
  for (size_t i = 0; i < n; ++i) fine_n[i] = BinOf(points[i].p, kFine), key_n[i] = SplitMix64(i);
  const int counts[3] = {10, 15, 20};
  std::vector<double> eces[3];
  for (int replicate = 0; replicate < replicates; ++replicate) {
    const uint64_t base = RandomBits(seed, RngStream::kBootstrap, replicate);
    double residual[kFine] = {};
    for (size_t i = 0; i < n; ++i) {
      const double y = ToUnit(SplitMix64(base ^ key_n[i])) < points[i].p ? 1.0 : 0.0;
      residual[fine_n[i]] += points[i].p - y;
    }
    for (int k = 0; k < 3; ++k) {
      double sum = 0.0;
      for (int bin = 0, width = kFine / counts[k]; bin < counts[k]; ++bin)
        sum += std::abs(std::accumulate(residual + bin * width, residual + (bin + 1) * width, 0.0));
      eces[k].push_back(sum / static_cast<double>(n));
    }
  }
  const auto quantile = [&](std::vector<double>& values) {
    const auto at = values.begin() + static_cast<size_t>(0.95 * static_cast<double>(values.size() - 1) + 0.5);
    std::nth_element(values.begin(), at, values.end());
    return *at;
  };
  return {quantile(eces[0]), quantile(eces[1]), quantile(eces[2]), replicates};
}

}  // namespace candor::calibration
