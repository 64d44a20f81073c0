// Distributions, intervals, bootstrap and paired comparisons: known values, coverage in simulation, clusters.
#include "calibration/intervals.h"

#include <gtest/gtest.h>

#include <cmath>

#include "calibration/bins.h"
#include "calibration/distributions.h"
#include "core/rng.h"

namespace candor::calibration {
namespace {

double Uniform(uint64_t seed, uint64_t a, uint64_t b = 0, uint64_t c = 0) { return RandomUnit(seed, RngStream::kSynthetic, a, b, c); }

TEST(Distributions, PublishedValues) {
  EXPECT_NEAR(1.959963984540054, NormalQuantile(0.975), 1e-12);
  EXPECT_NEAR(-3.090232306167813, NormalQuantile(0.001), 1e-11);
  EXPECT_NEAR(12.706204736432095, StudentQuantile(1, 0.975), 1e-8);
  EXPECT_NEAR(2.228138851964939, StudentQuantile(10, 0.975), 1e-10);
  EXPECT_NEAR(-1.6448536, StudentQuantile(1e7, 0.05), 1e-6);
  EXPECT_NEAR(0.5, IncompleteBeta(3.0, 3.0, 0.5), 1e-14);
  EXPECT_NEAR(0.6 * 0.6, IncompleteBeta(2.0, 1.0, 0.6), 1e-14);
  EXPECT_NEAR(1.0 - std::pow(0.4, 7.0), IncompleteBeta(1.0, 7.0, 0.6), 1e-14);
  // Both series of the Brownian range agree where they meet.
  EXPECT_NEAR(BrownianRangeTail(1.4999999), BrownianRangeTail(1.5000001), 1e-6);
  EXPECT_TRUE(std::isnan(NormalQuantile(1.0)));
}

TEST(Intervals, UndefinedIsNaN) {
  EXPECT_TRUE(std::isnan(WilsonInterval(0, 0).low));
  const ClusteredMean one = ComputeClusteredMean({1, 0, 1}, {5, 5, 5});
  EXPECT_TRUE(std::isnan(one.interval.low)) << "one prompt says nothing about others";
  EXPECT_NEAR(2.0 / 3.0, one.mean, 1e-15);
  EXPECT_TRUE(std::isnan(ComputeClusteredMean({}, {}).mean));
  const HeadlineEstimates all_right = BootstrapHeadline(MakePoints({0.4, 0.9, 0.6}, {1, 1, 1}));
  EXPECT_TRUE(std::isnan(all_right.auroc.value));
  EXPECT_TRUE(std::isnan(all_right.auroc.interval.low));
  EXPECT_FALSE(std::isnan(all_right.brier.interval.low));
}

TEST(Intervals, ClusteredIntervalCoversAndTheNaiveOneDoesNot) {
  int covered = 0, naive_covered = 0;
  const int worlds = 400;
  for (int world = 0; world < worlds; ++world) {
    std::vector<double> values;
    std::vector<uint64_t> clusters;
    for (uint64_t prompt = 0; prompt < 40; ++prompt) {
      const double rate = Uniform(11, world, prompt) < 0.5 ? 0.1 : 0.9;
      for (uint64_t rollout = 0; rollout < 8; ++rollout) {
        values.push_back(Uniform(12, world, prompt, rollout) < rate ? 1.0 : 0.0);
        clusters.push_back(prompt);
      }
    }
    const ClusteredMean mean = ComputeClusteredMean(values, clusters);
    covered += mean.interval.low <= 0.5 && 0.5 <= mean.interval.high;
    naive_covered += std::abs(mean.mean - 0.5) <= 1.96 * mean.naive_standard_error;
  }
  EXPECT_GT(covered, 0.92 * worlds);
  EXPECT_LT(naive_covered, 0.75 * worlds) << "negative control: rows as if independent";
}

TEST(Bootstrap, BasicIntervalsCoverAndClustersCount) {
  const auto draw = [](uint64_t world, bool shared_cluster) {
    Points points;
    for (uint64_t prompt = 0; prompt < 60; ++prompt) {
      const double p = Uniform(21, world, prompt);
      const double y = Uniform(22, world, prompt) < p ? 1.0 : 0.0;
      for (uint64_t copy = 0; copy < 4; ++copy) points.push_back({p, y, shared_cluster ? prompt : prompt * 4 + copy});
    }
    return points;
  };
  int covered = 0, naive_covered = 0;
  for (uint64_t world = 0; world < 150; ++world) {
    const Interval honest = BootstrapHeadline(draw(world, true), {120, 0.95}).brier.interval;
    const Interval naive = BootstrapHeadline(draw(world, false), {120, 0.95}).brier.interval;
    const double truth = 1.0 / 6.0;  // E p (1 - p) for p uniform
    covered += honest.low <= truth && truth <= honest.high;
    naive_covered += naive.low <= truth && truth <= naive.high;
  }
  EXPECT_GT(covered, 0.87 * 150);
  EXPECT_LT(naive_covered, 0.8 * 150) << "negative control: copies of a row taken for new prompts";
}

TEST(Bootstrap, WeightsArePoissonOne) {
  double sum = 0.0, squares = 0.0;
  const int n = 20000;
  for (int i = 0; i < n; ++i) {
    const double w = PoissonWeight(i, 1 + i % 7);
    sum += w, squares += w * w;
  }
  EXPECT_NEAR(1.0, sum / n, 0.03);
  EXPECT_NEAR(2.0, squares / n, 0.1);
}

std::vector<Row> Rows(uint64_t seed, double skill, int prompts, int rollouts = 2) {
  std::vector<Row> rows;
  for (int prompt = 0; prompt < prompts; ++prompt) {
    for (int rollout = 0; rollout < rollouts; ++rollout) {
      const double truth = Uniform(31, prompt);
      const double y = Uniform(32, prompt, rollout) < truth ? 1.0 : 0.0;
      const double p = skill * truth + (1.0 - skill) * Uniform(seed, prompt, rollout, 1);
      rows.push_back({Confidence::From(p), y, "q" + std::to_string(prompt)});
    }
  }
  return rows;
}

TEST(Paired, FindsWhatImprovedAndNothingElse) {
  const auto comparison = ComparePaired(Rows(41, 0.1, 300), Rows(42, 0.9, 300)).value();
  EXPECT_EQ(300, comparison.prompts);
  EXPECT_NEAR(0.0, comparison.accuracy.delta, 1e-12);
  EXPECT_FALSE(comparison.accuracy.excludes_zero());
  EXPECT_TRUE(comparison.brier.excludes_zero());
  EXPECT_LT(comparison.brier.delta, 0.0);
  EXPECT_TRUE(comparison.auroc.excludes_zero());
  EXPECT_GT(comparison.auroc.delta, 0.0);
  EXPECT_LT(comparison.augrc.interval.high, 0.0);
  const auto same = ComparePaired(Rows(41, 0.5, 80), Rows(41, 0.5, 80)).value();
  for (const Difference& difference : {same.accuracy, same.brier, same.auroc, same.augrc, same.ece15}) {
    EXPECT_EQ(0.0, difference.delta);
    EXPECT_FALSE(difference.excludes_zero());
  }
}

TEST(Paired, PairingNarrowsTheInterval) {
  const auto a = Rows(41, 0.5, 200), b = Rows(43, 0.5, 200);
  const auto paired = ComparePaired(a, b).value();
  const double single = BootstrapHeadline(PointsOf(a)).auroc.standard_error;
  const double unpaired_width = 2 * 1.96 * std::sqrt(2.0) * single;
  EXPECT_LT(paired.auroc.interval.high - paired.auroc.interval.low, 0.9 * unpaired_width);
}

TEST(Paired, OrderOfRowsDoesNotMatterAndMissingPromptsAreErrors) {
  const auto a = Rows(41, 0.2, 50);
  auto b = Rows(42, 0.8, 50);
  const double brier = ComparePaired(a, b).value().brier.delta;
  std::reverse(b.begin(), b.end());
  EXPECT_NEAR(brier, ComparePaired(a, b).value().brier.delta, 1e-12);
  b.resize(b.size() - 4);
  const auto refused = ComparePaired(a, b);
  ASSERT_FALSE(refused);
  EXPECT_NE(std::string::npos, refused.error().what.find("2 only in the first"));
  auto c = Rows(42, 0.8, 50);
  c[0].confidence.reset(), c[1].confidence.reset();
  EXPECT_EQ(1, ComparePaired(a, c).value().without_confidence);
}

TEST(EceNull, HoldsItsLevelForCalibratedModels) {
  int above = 0;
  const int worlds = 300;
  for (int world = 0; world < worlds; ++world) {
    Points points;
    for (uint64_t i = 0; i < 100; ++i) {
      const double p = Uniform(51, world, i);
      points.push_back({p, Uniform(52, world, i) < p ? 1.0 : 0.0, i});
    }
    above += Ece(EqualWidthBins(points, 15)) > SimulateEceNull(points).quantile95_15;
  }
  EXPECT_NEAR(0.05, static_cast<double>(above) / worlds, 0.04);
}

TEST(EceNull, IsDeterministicAndNearTheFloorTimesAFactor) {
  Points points;
  for (uint64_t i = 0; i < 1000; ++i) points.push_back({Uniform(53, i), 0.0, i});
  const EceNull once = SimulateEceNull(points, 3), twice = SimulateEceNull(points, 3);
  EXPECT_EQ(once.quantile95_10, twice.quantile95_10);
  EXPECT_NE(once.quantile95_10, SimulateEceNull(points, 4).quantile95_10);
  EXPECT_GT(once.quantile95_15, EceFloor(EqualWidthBins(points, 15)));
  EXPECT_LT(once.quantile95_15, 2 * EceFloor(EqualWidthBins(points, 15)));
}

}  // namespace
}  // namespace candor::calibration
