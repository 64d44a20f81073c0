// Decisions and recalibration at their edges.
#include "calibration/decisions.h"

#include <gtest/gtest.h>

#include <cmath>

#include "calibration/calibration_tests.h"
#include "calibration/intervals.h"
#include "calibration/ranking.h"
#include "calibration/recalibration.h"
#include "calibration/rollout_stats.h"
#include "core/rng.h"

namespace candor::calibration {
namespace {

Points World(uint64_t seed, size_t n) {
  Points points;
  for (size_t i = 0; i < n; ++i) {
    const double p = RandomUnit(seed, RngStream::kSynthetic, i);
    points.push_back({p, RandomUnit(seed, RngStream::kSynthetic, i, 1) < p ? 1.0 : 0.0, i});
  }
  return points;
}

TEST(Decisions, BestThresholdIsTheBestOfAll) {
  const Points points = World(1, 40);
  for (double t : {0.1, 0.5, 0.8}) {
    const Utility utility = ComputeUtility(points, t);
    double best = 0.0;
    for (const Point& threshold : points) {
      double sum = 0.0;
      for (const Point& point : points)
        if (point.p >= threshold.p) sum += point.y == 1.0 ? 1.0 : -t / (1.0 - t);
      best = std::max(best, sum / static_cast<double>(points.size()));
    }
    EXPECT_NEAR(best, utility.best, 1e-12);
    EXPECT_GE(utility.regret(), -1e-12);
    EXPECT_GE(utility.oracle, utility.best);
  }
  EXPECT_TRUE(std::isnan(ComputeUtility(points, 1.0).own));
  EXPECT_TRUE(std::isinf(ComputeUtility(MakePoints({0.9}, {0}), 0.5).best_threshold)) << "always wrong: silence is best";
}

TEST(Decisions, SlopeSaysWhetherConfidencesAreExtremised) {
  EXPECT_NEAR(LogitSlope({{0.1, 0.25}, {0.9, 0.75}, {0.3, 1.0}}), 2.0, 1e-12) << "odds of 1:9 for 1:3; a sure answer does not count";
  EXPECT_NEAR(LogitSlope({{0.25, 0.25}, {0.75, 0.75}}), 1.0, 1e-12);
  EXPECT_NEAR(LogitSlope({{0.0, 0.25}, {1.0, 0.75}}), std::log(999.0) / std::log(3.0), 1e-12) << "held within [.001, .999]";
  EXPECT_TRUE(std::isnan(LogitSlope({{0.1, 0.5}, {0.9, 0.5}})));
}

TEST(Decisions, RegretIsWhatActingOnTheConfidenceLoses) {
  // Stated .8, true .5: between the two, answering loses t - .5; the mean over all thresholds is .3^2 / 2, the worst is at .80.
  const std::vector<KnownPoint> one = {{0.8, 0.5}};
  EXPECT_NEAR(DecisionRegret(one, 0.7), 0.2, 1e-12);
  EXPECT_EQ(DecisionRegret(one, 0.4), 0.0);
  EXPECT_EQ(DecisionRegret(one, 0.9), 0.0);
  EXPECT_NEAR(ComputeRegret(one).mean, 0.045, 1e-12);
  EXPECT_NEAR(ComputeRegret(one).worst, 0.3, 1e-12);
  EXPECT_NEAR(ComputeRegret(one).worst_threshold, 0.8, 1e-12);
  // Its twin: expected utility of the best decision less that of the one that is taken, thresholds one by one.
  std::vector<KnownPoint> many;
  for (uint64_t i = 0; i < 50; ++i) many.push_back({RandomUnit(3, RngStream::kSynthetic, i), RandomUnit(3, RngStream::kSynthetic, i, 1)});
  double sum = 0.0;
  for (int k = 0; k < 4000; ++k) {
    const double t = (k + 0.5) / 4000;
    double best = 0.0, own = 0.0;
    for (const KnownPoint& p : many) best += std::max(0.0, p.chance - t), own += p.confidence >= t ? p.chance - t : 0.0;
    EXPECT_NEAR(DecisionRegret(many, t), (best - own) / 50, 1e-9);
    sum += (best - own) / 50 / 4000;
  }
  EXPECT_NEAR(ComputeRegret(many).mean, sum, 1e-5);
  EXPECT_EQ(ComputeRegret({{0.3, 0.3}, {1.0, 1.0}}).worst, 0.0);
  EXPECT_TRUE(std::isnan(ComputeRegret({}).mean));
}

TEST(Decisions, ConfidencesOfDifferentAnswersAddUp) {
  // r is stated twice, on average with .6; g once with .5; what cannot be read or says no number is left out.
  const Answers answers = {"r", "g", "r", std::nullopt, "b"};
  const Coherence c = ComputeCoherence(answers, {0.7, 0.5, 0.5, 0.9, std::nullopt});
  EXPECT_NEAR(c.sum, 1.1, 1e-12);
  EXPECT_EQ(c.distinct, 2);
  EXPECT_NEAR(c.excess(), 0.1, 1e-12);
  EXPECT_EQ(ComputeCoherence({"r", "r"}, {0.6, 0.6}).excess(), 0.0) << "one answer said often is one answer";
  EXPECT_EQ(ComputeCoherence({}, {}).distinct, 0);
}

TEST(Decisions, GuaranteesHoldInSimulation) {
  int violated = 0, found = 0;
  for (uint64_t seed = 0; seed < 200; ++seed) {
    const auto guarantee = FindGuarantee(World(seed, 300), 0.35, 0.1);
    if (!guarantee) continue;
    ++found;
    // The true risk of a calibrated model above a threshold t is (1 - t) / 2.
    violated += (1.0 - guarantee->threshold) / 2.0 > 0.35;
  }
  EXPECT_GT(found, 150);
  EXPECT_LE(violated, 0.1 * 200);
  EXPECT_FALSE(FindGuarantee(MakePoints({0.9, 0.8}, {0, 0}), 0.1));
  EXPECT_FALSE(FindGuarantee({}, 0.1));
}

TEST(Decisions, ConformalQuantileNeedsEnoughScores) {
  EXPECT_TRUE(std::isinf(ConformalQuantile({0.1, 0.2}, 0.05)));
  EXPECT_EQ(0.3, ConformalQuantile({0.3, 0.1, 0.2}, 0.25));
  EXPECT_EQ(1.0, ConformalPValue({}, 0.5));
}

TEST(Recalibration, RefusesWhatHasNoMaximum) {
  const Points all_right = MakePoints({0.2, 0.9, 0.5}, {1, 1, 1});
  for (RecalibratorKind kind : {RecalibratorKind::kLogistic, RecalibratorKind::kBeta}) {
    const auto refused = FitRecalibrator(kind, all_right);
    ASSERT_FALSE(refused);
    EXPECT_NE(std::string::npos, refused.error().what.find("all rows are correct"));
  }
  const Recalibrator platt = FitRecalibrator(RecalibratorKind::kPlatt, all_right).value();
  EXPECT_NEAR(0.8, platt.Apply(0.5), 0.02) << "smoothed labels: (3 + 1) / (3 + 2)";
  EXPECT_FALSE(FitRecalibrator(RecalibratorKind::kPlatt, {}));
  EXPECT_FALSE(RecalibratorKindFromName("plat"));
}

TEST(Recalibration, SurvivesEdgesAndSeparation) {
  const Points separable = MakePoints({0.0, 0.1, 0.9, 1.0}, {0, 0, 1, 1}), constant = MakePoints({0.7, 0.7, 0.7}, {1, 0, 0});
  for (auto kind : {RecalibratorKind::kTemperature, RecalibratorKind::kPlatt, RecalibratorKind::kLogistic, RecalibratorKind::kBeta,
                    RecalibratorKind::kIsotonic}) {
    for (const Points& points : {separable, constant}) {
      const auto fit = FitRecalibrator(kind, points);
      ASSERT_TRUE(fit) << Name(kind);
      double last = 0.0;
      for (double p : {0.0, 0.05, 0.5, 0.7, 1.0}) {
        EXPECT_TRUE(0.0 <= fit->Apply(p) && fit->Apply(p) <= 1.0) << Name(kind);
        EXPECT_GE(fit->Apply(p), last - 1e-12) << Name(kind);
        last = fit->Apply(p);
      }
    }
    EXPECT_EQ(kind, RecalibratorKindFromName(Name(kind)).value());
  }
  EXPECT_NEAR(1.0 / 3.0, FitRecalibrator(RecalibratorKind::kLogistic, constant)->Apply(0.7), 1e-6);
}

TEST(Recalibration, CrossFittingNeverSeesItsOwnLabels) {
  // Confidences that know nothing: an isotonic map fitted on the same rows "discriminates", a cross-fitted one is worse than the base rate.
  double in_sample = 0.0, crossed_skill = 0.0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    Points noise;
    for (size_t i = 0; i < 200; ++i)
      noise.push_back({RandomUnit(seed, RngStream::kSynthetic, i, 0), RandomUnit(seed, RngStream::kSynthetic, i, 1) < 0.5 ? 1.0 : 0.0, i});
    const auto skill = [](const Points& points) { return ComputeCorp(points).unc - ComputeHeadline(points).brier; };
    in_sample += skill(FitRecalibrator(RecalibratorKind::kIsotonic, noise)->Apply(noise)) / 40;
    crossed_skill += skill(CrossFit(RecalibratorKind::kIsotonic, noise).value()) / 40;
  }
  EXPECT_GT(in_sample, 0.003);
  EXPECT_LT(crossed_skill, 0.0);
  EXPECT_FALSE(CrossFit(RecalibratorKind::kPlatt, World(1, 50), 1));
}

TEST(CalibrationTests, PoissonBinomialMatchesEnumeration) {
  const std::vector<double> p = {0.1, 0.5, 0.9, 0.33, 0.02};
  for (int k = 0; k <= 6; ++k) {
    double tail = 0.0;
    for (unsigned mask = 0; mask < 32; ++mask) {
      double probability = 1.0;
      for (int i = 0; i < 5; ++i) probability *= (mask >> i & 1) ? p[i] : 1.0 - p[i];
      if (__builtin_popcount(mask) >= k) tail += probability;
    }
    EXPECT_NEAR(tail, PoissonBinomialTail(p, k), 1e-14) << k;
  }
  double poisson = 1.0, term = std::exp(-5.0);  // many rare ones are nearly a Poisson variable
  for (int k = 0; k < 12; ++k) poisson -= term, term *= 5.0 / (k + 1);
  EXPECT_NEAR(PoissonBinomialTail(std::vector<double>(5000, 0.001), 12), poisson, 5e-5);
  // The normal form of large sets joins the exact one.
  const std::vector<double> exact(31'000, 0.1), normal(32'000, 0.1);
  const auto one_sd_above = [](double n) { return static_cast<int>(0.1 * n + std::sqrt(0.09 * n)); };
  EXPECT_NEAR(PoissonBinomialTail(exact, one_sd_above(31'000)), PoissonBinomialTail(normal, one_sd_above(32'000)), 2e-3);
}

TEST(CalibrationTests, ConfidentWrongTakesOneRowPerPrompt) {
  Points points;
  for (int rollout = 0; rollout < 20; ++rollout) points.push_back({0.95, 0.0, 1});
  EXPECT_EQ(1, CountConfidentWrong(points).wrong) << "twenty copies of one mistake are one mistake";
}

}  // namespace
}  // namespace candor::calibration
