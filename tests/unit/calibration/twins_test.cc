// Naive twins: every formula written again in the plainest way, compared over all small worlds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "calibration/bins.h"
#include "calibration/isotonic.h"
#include "calibration/ranking.h"
#include "calibration/recalibration.h"
#include "calibration/rollout_stats.h"
#include "core/rng.h"

namespace candor::calibration {
namespace {

// All multisets of up to `most` rows over a few confidences (edges among them) and both labels.
void ForEveryWorld(int most, const std::function<void(const Points&)>& visit) {
  const std::vector<double> values = {0.0, 0.3, 0.35, 0.7, 1.0};
  const size_t kinds = values.size() * 2;
  for (int n = 1; n <= most; ++n) {
    std::vector<size_t> pick(n, 0);
    while (true) {
      Points points;
      for (int i = 0; i < n; ++i) points.push_back({values[pick[i] / 2], static_cast<double>(pick[i] % 2), static_cast<uint64_t>(i)});
      visit(points);
      int at = n - 1;
      while (at >= 0 && pick[at] == kinds - 1) --at;
      if (at < 0) break;
      const size_t next = pick[at] + 1;
      for (int i = at; i < n; ++i) pick[i] = next;
    }
  }
}

double NaiveAuroc(const Points& points) {
  double wins = 0.0, pairs = 0.0;
  for (const Point& right : points)
    for (const Point& wrong : points)
      if (right.y == 1.0 && wrong.y == 0.0) wins += right.p > wrong.p ? 1.0 : right.p == wrong.p ? 0.5 : 0.0, pairs += 1.0;
  return pairs > 0.0 ? wins / pairs : std::nan("");
}

// Mean over every order of the rows that sorts the confidences.
double NaiveAurc(Points points) {
  std::vector<size_t> order(points.size());
  std::iota(order.begin(), order.end(), 0);
  double sum = 0.0, orders = 0.0;
  do {
    if (!std::is_sorted(order.begin(), order.end(), [&](size_t a, size_t b) { return points[a].p > points[b].p; })) continue;
    double errors = 0.0, risk = 0.0;
    for (size_t i = 0; i < order.size(); ++i) {
      errors += 1.0 - points[order[i]].y;
      risk += errors / static_cast<double>(i + 1);
    }
    sum += risk / static_cast<double>(order.size());
    orders += 1.0;
  } while (std::next_permutation(order.begin(), order.end()));
  return sum / orders;
}

// Trapezoids of P(wrong and accepted) over coverage, at tie boundaries.
double NaiveAugrc(const Points& points) {
  double area = 0.0, coverage = 0.0, last_risk = 0.0, last_coverage = 0.0;
  for (const RiskCoverage& point : RiskCoverageCurve(points)) {
    coverage = point.coverage;
    area += (coverage - last_coverage) * (point.risk * coverage + last_risk) / 2.0;
    last_risk = point.risk * coverage, last_coverage = coverage;
  }
  return area;
}

double NaiveEce10(const Points& points) {
  double sum = 0.0;
  for (int bin = 0; bin < 10; ++bin) {
    double gap = 0.0;
    for (const Point& point : points) {
      const long thousandths = std::lround(point.p * 1000.0);  // the worlds' confidences are exact in thousandths
      const long own = std::min(thousandths / 100, 9L);
      if (own == bin) gap += point.p - point.y;
    }
    sum += std::abs(gap);
  }
  return sum / static_cast<double>(points.size());
}

// max over starts of min over ends of the mean label: the isotonic fit's closed form, over distinct confidences.
double NaiveIsotonic(const Points& points, double p) {
  std::vector<double> levels;
  for (const Point& point : points) levels.push_back(point.p);
  std::sort(levels.begin(), levels.end());
  levels.erase(std::unique(levels.begin(), levels.end()), levels.end());
  double best = -1.0;
  for (double from : levels) {
    if (from > p) continue;
    double least = 2.0;
    for (double to : levels) {
      if (to < p) continue;
      double sum = 0.0, n = 0.0;
      for (const Point& point : points)
        if (from <= point.p && point.p <= to) sum += point.y, n += 1.0;
      least = std::min(least, sum / n);
    }
    best = std::max(best, least);
  }
  return best;
}

void ExpectSame(double naive, double actual) {
  if (std::isnan(naive)) {
    EXPECT_TRUE(std::isnan(actual));
  } else {
    EXPECT_NEAR(naive, actual, 1e-12);
  }
}

TEST(Twins, RankingOverAllSmallWorlds) {
  int worlds = 0;
  ForEveryWorld(5, [&](const Points& points) {
    ++worlds;
    ExpectSame(NaiveAuroc(points), Auroc(points));
    ExpectSame(NaiveAugrc(points), Augrc(points));
    if (points.size() <= 4) ExpectSame(NaiveAurc(points), Aurc(points));
  });
  EXPECT_EQ(3002, worlds);
}

TEST(Twins, BinsAndIsotonicOverAllSmallWorlds) {
  ForEveryWorld(4, [](const Points& points) {
    const Bins bins = EqualWidthBins(points, 10);
    ExpectSame(NaiveEce10(points), Ece(bins));
    EXPECT_NEAR(Ece(bins), OverConfidence(bins) + UnderConfidence(bins), 1e-15);
    EXPECT_NEAR(SignedGap(bins), OverConfidence(bins) - UnderConfidence(bins), 1e-15);
    double brier = 0.0;
    for (const Point& point : points) brier += (point.p - point.y) * (point.p - point.y) / static_cast<double>(points.size());
    for (int m : {1, 3, 10, 15}) EXPECT_NEAR(brier, ComputeMurphy(EqualWidthBins(points, m)).brier(), 1e-12);
    const Corp corp = ComputeCorp(points);
    EXPECT_NEAR(brier, corp.mcb - corp.dsc + corp.unc, 1e-12);
    EXPECT_GE(corp.mcb, -1e-12);
    EXPECT_GE(corp.dsc, -1e-12);
    for (const Point& point : points) EXPECT_NEAR(NaiveIsotonic(points, point.p), FitIsotonic(points).At(point.p), 1e-12);
  });
}

TEST(Twins, FloatingEdgesGiveAnotherEce) {
  // Negative control of the integer rule: bins by dividing doubles put 0.3, 0.6, 0.7 one bin down.
  const Points points = MakePoints({0.3, 0.2, 0.7, 0.6, 0.65}, {0, 1, 0, 1, 0});
  double sum = 0.0;
  for (int bin = 0; bin <= 10; ++bin) {
    double gap = 0.0;
    for (const Point& point : points)
      if (static_cast<int>(point.p / 0.1) == bin) gap += point.p - point.y;
    sum += std::abs(gap) / static_cast<double>(points.size());
  }
  EXPECT_GT(std::abs(sum - Ece(EqualWidthBins(points, 10))), 0.01);
}

TEST(Twins, RoundsHalfToEven) {
  // 2.5e-9 is halfway between two units: to even gives 2, away from zero would give 3.
  EXPECT_EQ(2, NanoOf(2.5e-9));
  EXPECT_EQ(4, NanoOf(3.5e-9));
}

TEST(Twins, NothingDependsOnTheOrderOfRows) {
  Points points;
  for (size_t i = 0; i < 60; ++i)
    points.push_back(
        {std::floor(RandomUnit(1, RngStream::kSynthetic, i) * 8) / 8, RandomUnit(2, RngStream::kSynthetic, i) < 0.5 ? 1.0 : 0.0, i});
  Points reversed(points.rbegin(), points.rend());
  EXPECT_NEAR(Aurc(points), Aurc(reversed), 1e-13);
  EXPECT_NEAR(Auroc(points), Auroc(reversed), 1e-13);
  EXPECT_NEAR(AuprcError(points), AuprcError(reversed), 1e-13);
  EXPECT_NEAR(AccuracyAtCoverage(points, 0.37), AccuracyAtCoverage(reversed, 0.37), 1e-13);
  EXPECT_NEAR(CoverageAtRisk(points, 0.45), CoverageAtRisk(reversed, 0.45), 1e-13);
}

TEST(Twins, SweepMatchesTheSlowDefinition) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    Points points;
    for (size_t i = 0; i < 23; ++i) {
      const double p = RandomUnit(seed, RngStream::kSynthetic, i);
      points.push_back({p, RandomUnit(seed, RngStream::kSynthetic, i, 1) < p ? 1.0 : 0.0, i});
    }
    int best = 1;
    for (int m = 2; m <= 23; ++m) {
      const Bins bins = EqualMassBins(points, m);
      if (!std::is_sorted(bins.begin(), bins.end(), [](const Bin& a, const Bin& b) { return a.mean_y() < b.mean_y() - 1e-12; })) break;
      best = m;
    }
    EXPECT_EQ(best, ComputeEceSweep(points).bins) << seed;
  }
  Points all_right;  // would be quadratic without its cap
  for (size_t i = 0; i < 200000; ++i) all_right.push_back({static_cast<double>(i) / 200000.0, 1.0, i});
  EXPECT_EQ(static_cast<int>(kMaxSweepBins), ComputeEceSweep(all_right).bins);
}

TEST(Twins, PassRatesByCountingSubsets) {
  for (int n = 1; n <= 8; ++n) {
    for (int c = 0; c <= n; ++c) {
      for (int k = 1; k <= n; ++k) {
        double any = 0.0, all = 0.0, subsets = 0.0;
        for (unsigned mask = 0; mask < (1u << n); ++mask) {
          if (__builtin_popcount(mask) != k) continue;
          const int right = __builtin_popcount(mask & ((1u << c) - 1));
          any += right > 0, all += right == k, subsets += 1.0;
        }
        EXPECT_NEAR(any / subsets, PassAtK(n, c, k), 1e-12);
        EXPECT_NEAR(all / subsets, PassHatK(n, c, k), 1e-12);
      }
    }
  }
}

TEST(Twins, FittedMapsAreStationary) {
  // The likelihood's gradient vanishes at the fit, checked by differences.
  Points points;
  for (size_t i = 0; i < 300; ++i) {
    const double p = RandomUnit(9, RngStream::kSynthetic, i);
    points.push_back({p, RandomUnit(9, RngStream::kSynthetic, i, 1) < p * p ? 1.0 : 0.0, i});
  }
  const auto loss = [&](const Recalibrator& map) {
    double sum = 0.0;
    for (const Point& point : points) sum -= point.y * std::log(map.Apply(point.p)) + (1 - point.y) * std::log1p(-map.Apply(point.p));
    return sum;
  };
  for (RecalibratorKind kind : {RecalibratorKind::kTemperature, RecalibratorKind::kLogistic, RecalibratorKind::kBeta}) {
    const Recalibrator fit = FitRecalibrator(kind, points).value();
    for (double Recalibrator::*parameter : {&Recalibrator::a, &Recalibrator::b, &Recalibrator::c}) {
      Recalibrator up = fit, down = fit;
      up.*parameter += 1e-3, down.*parameter -= 1e-3;
      EXPECT_GE(loss(up), loss(fit) - 1e-9) << Name(kind);
      EXPECT_GE(loss(down), loss(fit) - 1e-9) << Name(kind);
    }
  }
}

}  // namespace
}  // namespace candor::calibration
