// Everything from distinct confidence levels in descending order.
#include "calibration/ranking.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>

#include "calibration/undefined.h"

namespace candor::calibration {
namespace {

struct Totals {
  double n = 0.0, correct = 0.0;
  double wrong() const { return n - correct; }
  double accuracy() const { return correct / n; }
};

Totals TotalOf(const std::vector<Level>& levels) {
  Totals totals;
  for (const Level& level : levels) totals.n += level.n, totals.correct += level.correct;
  return totals;
}

// Calls visit(i, errors among the i most confident) for i = 1..n, errors of a tie group spread evenly.
void VisitRanks(const std::vector<Level>& levels, const std::function<void(double, double)>& visit) {
  double before_n = 0.0, before_errors = 0.0;
  for (const Level& level : levels) {
    const double errors = level.n - level.correct;
    for (double i = 1.0; i <= level.n; i += 1.0) visit(before_n + i, before_errors + errors * i / level.n);
    before_n += level.n;
    before_errors += errors;
  }
}

double Digamma(double x) {
  double shift = 0.0;
  for (; x < 12.0; x += 1.0) shift -= 1.0 / x;
  const double r = 1.0 / (x * x);
  return shift + std::log(x) - 0.5 / x - r * (1.0 / 12 - r * (1.0 / 120 - r * (1.0 / 252 - r * (1.0 / 240 - r / 132))));
}

// 1 / (n + 1) + ... + 1 / (n + m).
double HarmonicBetween(double n, double m) {
  if (m > 64.0) return Digamma(n + m + 1.0) - Digamma(n + 1.0);
  double sum = 0.0;
  for (double i = 1.0; i <= m; i += 1.0) sum += 1.0 / (n + i);
  return sum;
}

// Steps over levels in the order given: sum of precision * increase of recall.
double AveragePrecision(const std::vector<Level>& levels) {
  const double positives = TotalOf(levels).correct;
  if (!(positives > 0.0)) return kNaN;
  double seen = 0.0, hits = 0.0, sum = 0.0;
  for (const Level& level : levels) {
    seen += level.n;
    hits += level.correct;
    sum += hits / seen * level.correct / positives;
  }
  return sum;
}

}  // namespace

std::vector<Level> LevelsOf(const Points& points) {
  Points sorted = points;
  std::stable_sort(sorted.begin(), sorted.end(), [](const Point& a, const Point& b) { return a.p > b.p; });
  std::vector<Level> levels;
  for (const Point& point : sorted) {
    if (levels.empty() || levels.back().p != point.p) levels.push_back({point.p, 0.0, 0.0});
    levels.back().n += 1.0;
    levels.back().correct += point.y;
  }
  return levels;
}

std::vector<Level> LevelsOf(const Bins& bins) {
  std::vector<Level> levels;
  for (auto bin = bins.rbegin(); bin != bins.rend(); ++bin)
    if (bin->n > 0.0) levels.push_back({bin->mean_p(), bin->n, bin->sum_y});
  return levels;
}

AurocBounds BoundAuroc(const std::vector<Level>& levels) {
  const Totals totals = TotalOf(levels);
  const double pairs = totals.correct * totals.wrong();
  if (!(pairs > 0.0)) return {kNaN, kNaN, kNaN};
  double above_correct = 0.0, concordant = 0.0, tied = 0.0;
  for (const Level& level : levels) {
    const double wrong = level.n - level.correct;
    concordant += above_correct * wrong;
    tied += level.correct * wrong;
    above_correct += level.correct;
  }
  return {concordant / pairs, (concordant + 0.5 * tied) / pairs, (concordant + tied) / pairs};
}

double Auroc(const std::vector<Level>& levels) { return BoundAuroc(levels).mid; }
double Auroc(const Points& points) { return Auroc(LevelsOf(points)); }

double AuprcSuccess(const Points& points) { return AveragePrecision(LevelsOf(points)); }
double AuprcError(const Points& points) {
  std::vector<Level> levels = LevelsOf(points);
  std::reverse(levels.begin(), levels.end());
  for (Level& level : levels) level.correct = level.n - level.correct;
  return AveragePrecision(levels);
}

double Aurc(const std::vector<Level>& levels) {
  // In a tie group of m rows with e errors after N rows with E errors the i-th risk is (E + e i / m) / (N + i); their sum is closed, so
  // that a sketch of any size costs its cells.
  double sum = 0.0, before_n = 0.0, before_errors = 0.0;
  for (const Level& level : levels) {
    const double errors = level.n - level.correct;
    sum += (before_errors - errors * before_n / level.n) * HarmonicBetween(before_n, level.n) + errors;
    before_n += level.n;
    before_errors += errors;
  }
  return before_n > 0.0 ? sum / before_n : kNaN;
}
double Aurc(const Points& points) { return Aurc(LevelsOf(points)); }

double ExcessAurc(const Points& points) {
  if (points.empty()) return kNaN;
  const Totals totals = TotalOf(LevelsOf(points));
  const double errors = totals.wrong();
  double best = 0.0;
  for (double i = 1.0; i <= totals.n; i += 1.0) best += std::max(0.0, i - (totals.n - errors)) / i;
  return Aurc(points) - best / totals.n;
}

double ExcessAurcContinuous(const Points& points) {
  if (points.empty()) return kNaN;
  const double risk = 1.0 - TotalOf(LevelsOf(points)).accuracy();
  const double best = risk < 1.0 ? risk + (1.0 - risk) * std::log1p(-risk) : 1.0;
  return Aurc(points) - best;
}

double Augrc(const std::vector<Level>& levels) {
  const Totals totals = TotalOf(levels);
  if (!(totals.n > 0.0)) return kNaN;
  const double accuracy = totals.accuracy(), risk = 1.0 - accuracy;
  const double auroc = Auroc(levels);
  // With one class the ranking term has weight 0.
  return (std::isnan(auroc) ? 0.0 : (1.0 - auroc) * accuracy * risk) + 0.5 * risk * risk;
}
double Augrc(const Points& points) { return Augrc(LevelsOf(points)); }

std::vector<RiskCoverage> RiskCoverageCurve(const Points& points) {
  std::vector<RiskCoverage> curve;
  double n = 0.0, errors = 0.0;
  for (const Level& level : LevelsOf(points)) {
    n += level.n;
    errors += level.n - level.correct;
    curve.push_back({n / static_cast<double>(points.size()), errors / n, level.p});
  }
  return curve;
}

double AccuracyAtCoverage(const Points& points, double coverage) {
  if (points.empty()) return kNaN;
  const double n = static_cast<double>(points.size());
  // 0.1 * 30 is 3.0000000000000004: a share that is a whole count up to rounding must not take one row more.
  const double wanted = std::clamp(std::ceil(coverage * n - 1e-9), 1.0, n);
  double accuracy = kNaN;
  VisitRanks(LevelsOf(points), [&](double i, double errors) {
    if (i == wanted) accuracy = 1.0 - errors / i;
  });
  return accuracy;
}

double CoverageAtRisk(const Points& points, double risk) {
  if (points.empty()) return kNaN;
  double best = 0.0;
  VisitRanks(LevelsOf(points), [&](double i, double errors) {
    if (errors / i <= risk + 1e-12) best = i;
  });
  return best / static_cast<double>(points.size());
}

Sharpness ComputeSharpness(const Points& points) {
  if (points.empty()) return {kNaN, kNaN, kNaN, kNaN, 0, kNaN};
  const double n = static_cast<double>(points.size());
  Sharpness result;
  double mean = 0.0;
  std::map<int64_t, double> counts;
  for (const Point& point : points) mean += point.p / n;
  for (const Point& point : points) {
    const double p = point.p, q = 1.0 - p;
    result.variance += (p - mean) * (p - mean) / n;
    if (0.0 < p && p < 1.0) result.mean_entropy_bits -= (p * std::log2(p) + q * std::log2(q)) / n;
    result.mean_p_one_minus_p += p * q / n;
    if (NanoOf(p) >= 900'000'000) result.share_above_90 += 1.0 / n;
    counts[std::llrint(p * 100.0)] += 1.0;
  }
  std::vector<double> shares;
  for (const auto& [level, count] : counts) shares.push_back(count / n);
  std::sort(shares.rbegin(), shares.rend());
  result.distinct_levels = static_cast<int>(counts.size());
  for (size_t i = 0; i < std::min<size_t>(3, shares.size()); ++i) result.top3_level_share += shares[i];
  return result;
}

}  // namespace candor::calibration
