// Utility curves, abstention, selective guarantees, conformal order statistics.
#include "calibration/decisions.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "calibration/bins.h"
#include "calibration/intervals.h"
#include "calibration/ranking.h"
#include "calibration/undefined.h"

namespace candor::calibration {
namespace {
double Ratio(double part, double whole) { return whole > 0.0 ? part / whole : kNaN; }
}  // namespace

Utility ComputeUtility(const Points& points, double t) {
  Utility result;
  if (points.empty() || !(0.0 <= t && t < 1.0)) return {kNaN, kNaN, kNaN, kNaN, kNaN, kNaN, kNaN};
  const double n = static_cast<double>(points.size());
  result.penalty = t / (1.0 - t);
  const auto gain = [&](double correct, double count) { return (correct - (count - correct) * result.penalty) / n; };
  result.best_threshold = std::numeric_limits<double>::infinity();  // silence: utility 0
  double seen = 0.0, correct = 0.0;
  for (const Level& level : LevelsOf(points)) {
    seen += level.n;
    correct += level.correct;
    const double utility = gain(correct, seen);
    if (utility >= result.best) result.best = utility, result.best_threshold = level.p;
    if (NanoOf(level.p) >= NanoOf(t)) result.own = utility, result.coverage = seen / n;
  }
  result.always = gain(correct, seen);
  result.oracle = correct / n;
  return result;
}

double DecisionRegret(const std::vector<KnownPoint>& points, double t) {
  double lost = 0.0;
  for (const KnownPoint& point : points)
    if ((NanoOf(point.confidence) >= NanoOf(t)) != (NanoOf(point.chance) >= NanoOf(t))) lost += std::abs(point.chance - t);
  return Ratio(lost, static_cast<double>(points.size()));
}

RegretOverThresholds ComputeRegret(const std::vector<KnownPoint>& points) {
  if (points.empty()) return {kNaN, kNaN, kNaN};
  RegretOverThresholds result;
  for (const KnownPoint& point : points) result.mean += (point.confidence - point.chance) * (point.confidence - point.chance) / 2.0;
  result.mean /= static_cast<double>(points.size());
  for (int hundredths = 1; hundredths < 100; ++hundredths) {
    const double t = hundredths / 100.0, lost = DecisionRegret(points, t);
    if (lost > result.worst) result.worst = lost, result.worst_threshold = t;
  }
  return result;
}

double LogitSlope(const std::vector<KnownPoint>& points) {
  constexpr double least = 1e-3;
  const auto logit = [](double p) { return std::log(p / (1 - p)); };
  double n = 0, x = 0, y = 0, xx = 0, xy = 0;
  for (const KnownPoint& point : points) {
    if (!(0 < point.chance && point.chance < 1)) continue;
    const double a = logit(point.chance), b = logit(std::clamp(point.confidence, least, 1 - least));
    n += 1, x += a, y += b, xx += a * a, xy += a * b;
  }
  const double spread = n * xx - x * x;
  return spread > 1e-9 ? (n * xy - x * y) / spread : kNaN;
}

Abstention ComputeAbstention(const std::vector<AbstentionRow>& rows) {
  double tp = 0, fp = 0, fn = 0, tn = 0, answered_correct = 0, answerable_correct = 0, appropriate = 0;
  for (const AbstentionRow& row : rows) {
    (row.should_abstain ? (row.abstained ? tp : fn) : (row.abstained ? fp : tn)) += 1.0;
    if (!row.abstained && row.correct) answered_correct += 1.0;
    if (!row.abstained && row.correct && !row.should_abstain) answerable_correct += 1.0;
    if (row.abstained == row.should_abstain && (row.abstained || row.correct)) appropriate += 1.0;
  }
  const double n = static_cast<double>(rows.size()), answered = fn + tn;
  Abstention result;
  result.precision = Ratio(tp, tp + fp);
  result.recall = Ratio(tp, tp + fn);
  result.f1 = Ratio(2.0 * tp, 2.0 * tp + fp + fn);
  result.over = Ratio(fp, fp + tn);
  result.under = Ratio(fn, fn + tp);
  result.direction = result.over - result.under;
  result.accuracy_on_answerable = Ratio(answerable_correct, fp + tn);
  result.appropriate = Ratio(appropriate, n);
  result.coverage = Ratio(answered, n);
  result.selective_accuracy = Ratio(answered_correct, answered);
  result.hallucination_rate = Ratio(answered - answered_correct, n);
  return result;
}

std::optional<SelectiveGuarantee> FindGuarantee(const Points& points, double risk, double delta) {
  const Points independent = OnePerCluster(points);
  if (independent.empty()) return std::nullopt;
  struct Prefix {
    double threshold, n, errors;
  };
  std::vector<Prefix> prefixes;
  double n = 0.0, errors = 0.0;
  for (const Level& level : LevelsOf(independent)) {
    n += level.n;
    errors += level.n - level.correct;
    prefixes.push_back({level.p, n, errors});
  }
  const int checks = std::max(1, static_cast<int>(std::ceil(std::log2(n))));
  std::optional<SelectiveGuarantee> found;
  int low = 0, high = static_cast<int>(prefixes.size()) - 1;
  for (int check = 0; check < checks && low <= high; ++check) {
    const int mid = low + (high - low) / 2;
    const Prefix& prefix = prefixes[mid];
    const double bound = ClopperPearsonUpper(prefix.errors, prefix.n, delta / checks);
    if (bound <= risk) {
      found = SelectiveGuarantee{prefix.threshold, prefix.n / n, prefix.errors / prefix.n, bound};
      low = mid + 1;
    } else {
      high = mid - 1;
    }
  }
  return found;
}

double ConformalQuantile(std::vector<double> scores, double alpha) {
  // (n + 1)(1 - alpha) may be a whole number up to rounding.
  const double rank = std::ceil(static_cast<double>(scores.size() + 1) * (1.0 - alpha) - 1e-9);
  if (!(rank <= static_cast<double>(scores.size()))) return std::numeric_limits<double>::infinity();
  const auto at = scores.begin() + static_cast<ptrdiff_t>(std::max(rank, 1.0)) - 1;
  std::nth_element(scores.begin(), at, scores.end());
  return *at;
}

double ConformalPValue(const std::vector<double>& calibration_scores, double score) {
  const auto at_least = std::count_if(calibration_scores.begin(), calibration_scores.end(), [&](double s) { return s >= score; });
  return static_cast<double>(at_least + 1) / static_cast<double>(calibration_scores.size() + 1);
}

}  // namespace candor::calibration
