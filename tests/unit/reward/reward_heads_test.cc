// A reward model's heads: the robust mix against its worked numbers, and fitted heads against rows whose law is known.
#include "reward/reward_heads.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"

namespace candor {
namespace {

double Normal(uint64_t a, uint64_t b) {
  const double u = RandomUnit(11, RngStream::kSynthetic, a, b, 0) + 1e-12, v = RandomUnit(11, RngStream::kSynthetic, a, b, 1);
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * 3.14159265358979 * v);
}
// Score 3 + 2 x0 - x1 with noise of standard deviation 0.1 where x2 < 0 and 1 elsewhere; the features in units of their own.
HeadRows Known(size_t n, uint64_t first = 0, bool shuffled = false) {
  HeadRows rows;
  rows.width = 3;
  for (uint64_t i = first; i < first + n; ++i) {
    const double x[3] = {Normal(i, 0), Normal(i, 1), Normal(i, 2) > 0.0 ? 1.0 : -1.0};
    for (int d = 0; d < 3; ++d) rows.features.push_back(static_cast<float>(10.0 * x[d] + 5.0 * d));
    const uint64_t j = shuffled ? i + 100000 : i;
    const double y0 = shuffled ? Normal(j, 0) : x[0], y1 = shuffled ? Normal(j, 1) : x[1];
    rows.scores.push_back(3.0 + 2.0 * y0 - y1 + (x[2] < 0.0 ? 0.1 : 1.0) * Normal(i, 3));
  }
  return rows;
}

TEST(RewardHeads, TheMostCertainHeadMixedWithTheWorst) {
  const std::vector<HeadReading> readings = {{1.2, .3}, {.9, .2}, {1.4, .5}, {.7, .25}, {1.0, .4}};
  const RobustReward robust = Robust(readings);
  EXPECT_EQ(robust.nominal, .9);
  EXPECT_EQ(robust.worst, .7);
  EXPECT_NEAR(.4 * robust.nominal + .6 * robust.worst, .78, 1e-12);
}

TEST(RewardHeads, FindMeanAndSpreadOfAKnownLaw) {
  const HeadRows train = Known(600), held_out = Known(400, 5000);
  HeadFitOptions options;
  options.weight_decay = 1e-4;
  std::vector<double> losses;
  const RewardHeads heads = *FitHeads(train, options, [&](int64_t, double loss) { losses.push_back(loss); });
  ASSERT_EQ(heads.heads.size(), 5u);
  EXPECT_LT(losses.back(), losses.front());
  const HeadFigures figures = MeasureHeads(heads, held_out);
  EXPECT_NEAR(figures.constant_error, std::sqrt(5.0 + .505), .15);
  EXPECT_LT(figures.error, 0.8) << "the noise alone is " << std::sqrt(.505);
  EXPECT_GT(*figures.ordered, 0.9);
  double quiet = 0, loud = 0;
  for (size_t i = 0; i < held_out.size(); ++i)
    for (const HeadReading& reading : heads.Read(held_out.Row(i))) (held_out.Row(i)[2] < 10.0f ? quiet : loud) += reading.std;
  EXPECT_GT(loud, 4.0 * quiet) << "heads know where they know little";
}

TEST(RewardHeads, TheGradientInTheFeaturesIsThatOfFiniteDifferences) {
  HeadFitOptions options;
  options.steps = 40;
  const HeadRows rows = Known(60);
  const RewardHeads heads = *FitHeads(rows, options);
  for (size_t i = 0; i < 5; ++i) {
    std::vector<float> x(rows.Row(i).begin(), rows.Row(i).end()), gradient(3, 1.0f), none(3);
    AddHeadLoss(heads, x, rows.scores[i], 2.0, gradient);
    for (size_t d = 0; d < 3; ++d) {
      constexpr float kStep = 0.01f;
      std::vector<float> above = x, below = x;
      above[d] += kStep, below[d] -= kStep;
      const double slope = (AddHeadLoss(heads, above, rows.scores[i], 0.0, none) - AddHeadLoss(heads, below, rows.scores[i], 0.0, none)) /
                           static_cast<double>(above[d] - below[d]);
      EXPECT_NEAR(gradient[d], 1.0 + 2.0 * slope, 2e-3 * (1.0 + std::abs(slope))) << i << ", " << d << ": it is added";
    }
    EXPECT_EQ(none, std::vector<float>(3)) << "a share of 0 adds nothing";
  }
}

TEST(RewardHeads, AStartReadsAsItDidUnderAnotherStandardisation) {
  HeadFitOptions options;
  options.steps = 40;
  const RewardHeads heads = *FitHeads(Known(60), options);
  HeadFitOptions go_on;
  go_on.steps = 0, go_on.start = &heads;
  HeadRows twice = Known(60);
  const HeadRows more = Known(60, 900);
  for (const float x : more.features) twice.features.push_back(x);
  for (size_t i = 0; i < 60; ++i) twice.scores.push_back(twice.scores[i]);  // the same mean and scale of the scores, other features
  const RewardHeads again = *FitHeads(twice, go_on);
  EXPECT_NE(again.feature_mean, heads.feature_mean);
  for (size_t i = 0; i < 5; ++i) {
    const auto before = heads.Read(twice.Row(i)), after = again.Read(twice.Row(i));
    for (size_t h = 0; h < before.size(); ++h) {
      EXPECT_NEAR(after[h].mean, before[h].mean, 1e-9);
      EXPECT_NEAR(after[h].std, before[h].std, 1e-9);
    }
  }
}

TEST(RewardHeads, RowsWhoseScoresBelongToOthersTeachNothing) {
  HeadFitOptions options;
  options.weight_decay = 1e-4;
  const HeadFigures figures = MeasureHeads(*FitHeads(Known(600, 0, true), options), Known(400, 5000));
  EXPECT_NEAR(*figures.ordered, 0.5, 0.1);
  EXPECT_GT(figures.error, 0.95 * figures.constant_error);
}

TEST(RewardHeads, AFeatureThatNeverVariedSaysNothing) {
  HeadRows rows = Known(60);
  for (size_t i = 0; i < rows.size(); ++i) rows.features[3 * i + 1] = 1e4f;
  const RewardHeads heads = *FitHeads(rows, {});
  const std::vector<float> same = {5.f, 1e4f, 10.f}, shifted = {5.f, 1e4f + .01f, 10.f};
  for (size_t h = 0; h < heads.heads.size(); ++h)
    EXPECT_NEAR(heads.Read(shifted)[h].mean, heads.Read(same)[h].mean, .1) << "not ten thousand deviations away";
}

TEST(RewardHeads, HeadsDifferAndSurviveTheFile) {
  const RewardHeads heads = *FitHeads(Known(40), {});
  const std::vector<float> far = {300.f, -300.f, 10.f};
  const std::vector<HeadReading> readings = heads.Read(far);
  double low = readings[0].mean, high = low;
  for (const HeadReading& reading : readings) low = std::min(low, reading.mean), high = std::max(high, reading.mean);
  EXPECT_GT(high - low, 0.01) << "each head has its own resample";
  const auto again = ParseRewardHeads(ToJson(heads), "heads.json");
  ASSERT_TRUE(again) << again.error().Message();
  EXPECT_EQ(ToJson(*again), ToJson(heads));
  for (const char* broken :
       {"", "{}", "[1]", R"({"feature_mean": [1], "feature_scale": [0], "score_mean": 0, "score_scale": 1, "heads": []})"}) {
    const auto refused = ParseRewardHeads(broken, "heads.json");
    ASSERT_FALSE(refused) << broken;
    EXPECT_EQ(refused.error().where, "heads.json");
  }
}

TEST(RewardHeads, NothingAndNonsenseAreRefused) {
  EXPECT_FALSE(FitHeads({}, {}));
  HeadRows rows = Known(5);
  rows.scores[2] = NAN;
  EXPECT_FALSE(FitHeads(rows, {}));
  rows = Known(5);
  rows.features[1] = INFINITY;
  EXPECT_FALSE(FitHeads(rows, {}));
}

}  // namespace
}  // namespace candor
