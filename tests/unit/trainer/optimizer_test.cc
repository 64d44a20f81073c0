// AdamW, averaging and schedules against a naive twin in double.
#include "trainer/optimizer.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <random>
#include <vector>

namespace candor {
namespace {

struct NaiveAdamW {
  std::vector<double> w, m, v;
  void Step(const AdamOptions& o, double lr, int t, bool decays, const std::vector<float>& g) {
    for (size_t i = 0; i < w.size(); ++i) {
      if (decays) w[i] -= lr * o.weight_decay * w[i];
      m[i] = o.beta1 * m[i] + (1 - o.beta1) * g[i];
      v[i] = o.beta2 * v[i] + (1 - o.beta2) * g[i] * g[i];
      double mean = m[i] / (1 - std::pow(o.beta1, t)), square = v[i] / (1 - std::pow(o.beta2, t));
      w[i] -= lr * mean / (std::sqrt(square) + o.epsilon);
    }
  }
};

double LargestGap(bool naive_decays) {
  AdamOptions options;
  options.weight_decay = 0.1;
  size_t n = 70001;  // more than one parallel piece
  std::mt19937 random(5);
  std::normal_distribution<float> normal;
  std::vector<float> w(n), m(n, 0), v(n, 0), g(n);
  for (float& x : w) x = normal(random);
  NaiveAdamW naive{{w.begin(), w.end()}, std::vector<double>(n, 0), std::vector<double>(n, 0)};
  for (int t = 1; t <= 6; ++t) {
    for (float& x : g) x = normal(random) * 1e-3f;
    double lr = 0.01 * t;
    ApplyAdamW(PlanAdamW(options, lr, t, 1.0), true, w, m, v, g);
    naive.Step(options, lr, t, naive_decays, g);
  }
  double gap = 0;
  for (size_t i = 0; i < n; ++i) gap = std::max(gap, std::abs(w[i] - naive.w[i]));
  return gap;
}

TEST(AdamW, AgreesWithANaiveTwin) {
  EXPECT_LT(LargestGap(true), 2e-6);
  EXPECT_GT(LargestGap(false), 1e-2);  // the control: without decay the weights are others
}

TEST(AdamW, ClippingScalesTheGradient) {
  AdamOptions options;
  std::vector<float> w{1}, m{0}, v{0}, g{4};
  ApplyAdamW(PlanAdamW(options, 0.1, 1, ClipScale(4.0, 1.0)), false, w, m, v, g);
  EXPECT_NEAR(m[0], 0.1, 1e-6);  // (1 - beta1) * 4 * 1/4
  EXPECT_EQ(ClipScale(0.5, 1.0), 1.0);
  EXPECT_EQ(ClipScale(5.0, 0.0), 1.0);
}

TEST(AdamW, RoundsTheNewWeightsAndLooksAtThem) {
  const size_t n = 70001;
  std::vector<float> w(n), m(n, 0), v(n, 0), g(n, 1e-3f);
  for (size_t i = 0; i < n; ++i) w[i] = std::sin(static_cast<float>(i));
  std::vector<uint16_t> low(n, 0);
  const AdamWStep step = PlanAdamW({}, 1e-3, 1, 1.0);
  EXPECT_TRUE(ApplyAdamW(step, true, w, m, v, g, low));
  for (size_t i = 0; i < n; ++i) {
    const float rounded = std::bit_cast<float>(uint32_t{low[i]} << 16);
    ASSERT_LE(std::abs(rounded - w[i]), std::ldexp(std::abs(w[i]), -8)) << i;
  }
  w[0] = 1.0f + 1.0f / 256, w[1] = 1.0f + 3.0f / 256, g[0] = g[1] = m[0] = m[1] = 0;  // half way between two: to the even one
  ApplyAdamW(PlanAdamW({}, 0.0, 2, 1.0), false, w, m, v, g, low);
  EXPECT_EQ(low[0], 0x3f80);
  EXPECT_EQ(low[1], 0x3f82);
  for (const float bad : {std::nanf(""), INFINITY, -INFINITY}) {
    w[n - 1] = bad;
    EXPECT_FALSE(ApplyAdamW(step, true, w, m, v, g, low)) << bad;
  }
}

TEST(Average, KeepsItsShare) {
  std::vector<float> average{1, 2}, w{3, 4};
  ApplyAverage(0.75, average, w);
  EXPECT_FLOAT_EQ(average[0], 1.5f);
  EXPECT_FLOAT_EQ(average[1], 2.5f);
}

TEST(SumOfSquares, AgreesWithANaiveSumAndSeesNan) {
  std::vector<float> x(100003);
  double want = 0;
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<float>(i)), want += static_cast<double>(x[i]) * x[i];
  EXPECT_NEAR(SumOfSquares(x), want, 1e-9 * want);
  x[54321] = std::nanf("");
  EXPECT_TRUE(std::isnan(SumOfSquares(x)));
  EXPECT_EQ(SumOfSquares({}), 0.0);
}

TEST(Schedule, WarmUpThenShape) {
  ScheduleOptions o{1e-3, 4, "constant", 0.1};
  EXPECT_DOUBLE_EQ(LearningRate(o, 20, 1), 0.25e-3);
  EXPECT_DOUBLE_EQ(LearningRate(o, 20, 4), 1e-3);
  EXPECT_DOUBLE_EQ(LearningRate(o, 20, 20), 1e-3);
  o.schedule = "linear";
  EXPECT_DOUBLE_EQ(LearningRate(o, 20, 12), 1e-3 * (0.1 + 0.9 * 0.5));
  EXPECT_DOUBLE_EQ(LearningRate(o, 20, 20), 1e-4);
  o.schedule = "cosine";
  EXPECT_NEAR(LearningRate(o, 20, 12), 1e-3 * (0.1 + 0.9 * 0.5), 1e-12);
  EXPECT_NEAR(LearningRate(o, 20, 20), 1e-4, 1e-12);
  EXPECT_GT(LearningRate(o, 20, 8), 1e-3 * (0.1 + 0.9 * 0.75));  // a cosine lies above the line first
}

}  // namespace
}  // namespace candor
