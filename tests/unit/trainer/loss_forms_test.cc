// The further loss forms against the formula sheet's numbers and a naive twin over whole sequences, differentiated numerically.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "trainer/losses.h"
#include "trainer/token_covariance.h"

namespace candor {
namespace {

LossSettings FormSettings(PolicyLoss loss) {
  LossSettings s;
  s.loss = loss;
  return s;
}

// Tokens of weight 1 whose log ratios against the rollout are given.
struct Batch {
  std::vector<float> now, rollout, advantages, weights;
  std::vector<size_t> starts;
  std::vector<int64_t> lag;
  LossInputs inputs() const { return {now, rollout, advantages, weights, starts, lag, 5}; }
};
Batch FromLogRatios(const std::vector<double>& log_ratios, float advantage, float log_prob = -1.0f) {
  Batch b;
  for (double d : log_ratios) {
    b.now.push_back(log_prob), b.rollout.push_back(log_prob - static_cast<float>(d));
    b.advantages.push_back(advantage), b.weights.push_back(1.0f);
  }
  return b;
}

// log rho = [.1, -.05, .2] -> s = 1.086904; the product would be 1.284025.
TEST(Gspo, WorkedNumbers) {
  LossSettings s = FormSettings(PolicyLoss::kGspo);
  s.clip_high = 0.5;
  Batch b = FromLogRatios({.1, -.05, .2}, 1);
  LossOutputs out = ComputePolicyLoss(s, b.inputs());
  EXPECT_NEAR(out.sum / 3, -1.086904, 1e-6);
  for (float g : out.gradient_M) EXPECT_NEAR(g, -1.086904, 1e-6);
  s.clip_high = 4e-4;  // the usual width: everything is clipped
  out = ComputePolicyLoss(s, b.inputs());
  EXPECT_NEAR(out.sum / 3, -1.0004, 1e-6);
  EXPECT_EQ(out.counts.clipped, 3.0);
  EXPECT_GT(std::abs(ComputePolicyLoss(FormSettings(PolicyLoss::kPpoClip), b.inputs()).sum / 3 + 1.0004), 1e-2);  // the control
}

// rho = [.7, 1, 1.5, 6], t = 1: f = [1.702, 2, 2.490, 3.973].
TEST(Sapo, WorkedNumbers) {
  const double rho[] = {.7, 1, 1.5, 6}, want[] = {1.702, 2, 2.490, 3.973};
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(ComputePolicyLoss(FormSettings(PolicyLoss::kSapo), FromLogRatios({std::log(rho[i])}, 1).inputs()).sum, -want[i], 5e-4);
    LossSettings s = FormSettings(PolicyLoss::kSapo);
    s.sapo_negative = 1.0;
    EXPECT_NEAR(ComputePolicyLoss(s, FromLogRatios({std::log(rho[i])}, -1).inputs()).sum, want[i], 5e-4);
  }
  // At ratio 1 the gradient is that of the plain surrogate, whatever the sharpness.
  EXPECT_NEAR(ComputePolicyLoss(FormSettings(PolicyLoss::kSapo), FromLogRatios({0}, -1).inputs()).gradient_M[0], 1, 1e-6);
}

TEST(DecoupledPpo, TheOldPolicyIsOneVersionBehindTheLearner) {
  LossSettings s = FormSettings(PolicyLoss::kDecoupledPpo);
  s.old_policy = OldPolicy::kInterpolated;
  s.correction.tis_max = 100;
  Batch b = FromLogRatios({.15, .15, .15, .15}, 1);
  b.lag = {0, 1, 3, 2};
  LossOutputs out = ComputePolicyLoss(s, b.inputs());
  // A lag of 3: old = rollout + 2/3 (now - rollout), so r = exp(.05), w = exp(.1), r w = exp(.15).
  for (float g : out.gradient_M) EXPECT_NEAR(g, -std::exp(.15), 1e-6);
  EXPECT_NEAR(out.counts.ratio_sum, 2 * std::exp(.15) + std::exp(.05) + std::exp(.075), 1e-5);
  // Far off, the clip holds for the near part alone: r = exp(.3) is cut, at w = exp(.6).
  Batch far = FromLogRatios({.9}, 1);
  far.lag = {3};
  EXPECT_EQ(ComputePolicyLoss(s, far.inputs()).gradient_M[0], 0.0f);
  EXPECT_NEAR(ComputePolicyLoss(s, far.inputs()).sum, -1.28 * std::exp(.6), 1e-5);
  s.correction.tis_max = 1.5;
  EXPECT_NEAR(ComputePolicyLoss(s, far.inputs()).sum, -1.28 * 1.5, 1e-5);
}

TEST(DecoupledPpo, WithoutAnotherOldPolicyItIsRefused) {
  TrainerOptions options;
  options.loss = "decoupled_ppo";
  EXPECT_FALSE(CheckLoss(options));
  options.old_policy = "interpolated";
  options.tis_max = 0;
  ASSERT_TRUE(CheckLoss(options));
  EXPECT_TRUE(std::isinf(CheckLoss(options)->correction.tis_max));  // the weight belongs to the loss
  options.correction.reject = "token", options.correction.reject_low = 9;
  EXPECT_FALSE(CheckLoss(options));
}

// Ten tokens; covariances by hand from the definition.
TEST(Covariance, ClipCovTakesTheGradientOfCovariantTokens) {
  Batch b;
  for (int i = 0; i < 10; ++i) {
    b.now.push_back(static_cast<float>(-i)), b.rollout.push_back(static_cast<float>(-i));
    b.advantages.push_back(i < 5 ? 1.0f : -1.0f), b.weights.push_back(1.0f);
  }
  CovarianceInputs inputs{b.now, b.advantages, b.weights};
  auto covariances = ComputeTokenCovariances(inputs);
  for (int i = 0; i < 10; ++i) EXPECT_NEAR(covariances[static_cast<size_t>(i)], (i < 5 ? 1 : -1) * (4.5 - i), 1e-6);
  LossSettings s = FormSettings(PolicyLoss::kClipCov);  // between 1 and 5: tokens 0-3 and 6-9
  s.cov_fraction = .3;
  LossOutputs out = ComputePolicyLoss(s, b.inputs());
  int zero = 0;
  for (size_t i = 0; i < 10; ++i)
    if (out.gradient_M[i] == 0.0f) {
      ++zero;
      EXPECT_TRUE(covariances[i] > 1 && covariances[i] < 5);
    }
  EXPECT_EQ(zero, 3);
  EXPECT_EQ(ComputePolicyLoss(s, b.inputs()).gradient_M, out.gradient_M);  // a function of its coordinates
  LossInputs other = b.inputs();
  int differ = 0;
  for (uint64_t draw = 0; draw < 20; ++draw) other.draw = draw, differ += ComputePolicyLoss(s, other).gradient_M != out.gradient_M;
  EXPECT_GT(differ, 10);
  s.cov_fraction = 1e-6;  // at least one
  auto least = ComputePolicyLoss(s, b.inputs()).gradient_M;
  EXPECT_EQ(std::count(least.begin(), least.end(), 0.0f), 1);
  s.cov_low = 100, s.cov_high = 200;  // none is between: plain PPO
  EXPECT_EQ(ComputePolicyLoss(s, b.inputs()).gradient_M, ComputePolicyLoss(FormSettings(PolicyLoss::kPpoClip), b.inputs()).gradient_M);
}

TEST(Covariance, KlCovHoldsTheMostCovariantTokens) {
  Batch b = FromLogRatios({.3, -.2, .1, 0}, 1);
  b.now = {-0.1f, -3, -2, -1}, b.advantages = {2, 1, 0, 0};
  for (size_t i = 0; i < 4; ++i) b.rollout[i] = b.now[i] - (i == 0 ? .3f : i == 1 ? -.2f : i == 2 ? .1f : 0.0f);
  LossSettings s = FormSettings(PolicyLoss::kKlCov);
  s.cov_fraction = .25, s.cov_kl = .5;  // one token: the first
  LossOutputs out = ComputePolicyLoss(s, b.inputs());
  EXPECT_NEAR(out.gradient_M[0], -2 * std::exp(.3) + .5, 1e-5);
  EXPECT_NEAR(out.gradient_M[1], -std::exp(-.2), 1e-5);
  EXPECT_NEAR(out.sum, -2 * std::exp(.3) + .5 * .3 - std::exp(-.2), 1e-5);
  EXPECT_EQ(out.counts.clipped, 1.0);
}

// The forms once more, over all tokens at once: f(p; p0), where p0 is where constants are taken.
double Naive(const LossSettings& s, const Batch& b, const std::vector<double>& p, const std::vector<double>& p0) {
  double total = 0;
  for (size_t q = 0; q < b.starts.size(); ++q) {
    size_t begin = b.starts[q], end = q + 1 < b.starts.size() ? b.starts[q + 1] : p.size();
    double n = 0, mean = 0;
    for (size_t i = begin; i < end; ++i)
      if (b.weights[i] != 0) n += 1, mean += p[i] - static_cast<double>(b.rollout[i]);
    for (size_t i = begin; i < end; ++i) {
      double a = b.advantages[i], lag = static_cast<double>(b.lag[i]), roll = b.rollout[i];
      double old = s.old_policy == OldPolicy::kInterpolated && lag > 1 ? roll + (lag - 1) / lag * (p0[i] - roll) : roll;
      double r = s.loss == PolicyLoss::kGspo ? std::exp(mean / n) : std::exp(p[i] - old), f = 0;
      double t = a > 0 ? s.sapo_positive : s.sapo_negative;
      if (s.loss == PolicyLoss::kSapo)
        f = -a * 4 / t / (1 + std::exp(-t * (r - 1)));
      else
        f = std::max(-a * r, -a * std::min(std::max(r, 1 - s.clip_low), 1 + s.clip_high));
      if (s.loss == PolicyLoss::kDecoupledPpo && a < 0) f = std::min(f, -a * s.dual_clip);
      double w = s.loss == PolicyLoss::kDecoupledPpo ? std::min(std::exp(old - roll), s.correction.tis_max) : 1;
      total += static_cast<double>(b.weights[i]) * w * f;
    }
  }
  return total;
}

TEST(LossForms, ValuesAndGradientsAgreeWithANaiveTwin) {
  std::mt19937 random(3);
  std::uniform_real_distribution<float> log_prob(-4, -.01f), noise(-.6f, .6f), advantage(-2, 2);
  double control = 0;
  int compared = 0;
  for (PolicyLoss loss : {PolicyLoss::kGspo, PolicyLoss::kSapo, PolicyLoss::kDecoupledPpo})
    for (int round = 0; round < 60; ++round) {
      LossSettings s = FormSettings(loss);
      if (loss == PolicyLoss::kDecoupledPpo) s.old_policy = OldPolicy::kInterpolated;
      Batch b;
      b.starts = {0, 3};
      for (size_t i = 0; i < 8; ++i) {
        b.now.push_back(log_prob(random)), b.rollout.push_back(b.now.back() + noise(random)), b.lag.push_back(round % 5);
        // One advantage and one weight per sequence, as aggregation "sequence" gives them: then GSPO's token form is its sequence form.
        b.advantages.push_back(i == 0 || i == 3 || loss != PolicyLoss::kGspo ? advantage(random) : b.advantages.back());
        b.weights.push_back(i == 5 ? 0.0f : i < 3 ? .3f : .1f);
      }
      LossOutputs out = ComputePolicyLoss(s, b.inputs());
      std::vector<double> p0(b.now.begin(), b.now.end());
      EXPECT_NEAR(out.sum, Naive(s, b, p0, p0), 1e-5);
      for (size_t i = 0; i < p0.size(); ++i) {
        double h = 1e-5, left = 0, right = 0;
        std::vector<double> p = p0;
        p[i] += h, right = Naive(s, b, p, p0), p[i] -= 2 * h, left = Naive(s, b, p, p0);
        double slope = (right - left) / (2 * h), half = (right - Naive(s, b, p0, p0)) / h;
        if (std::abs(slope - half) > 1e-3) continue;  // a corner of the clip
        EXPECT_NEAR(out.gradient_M[i], slope, 1e-4) << i;
        control = std::max(control, std::abs(out.gradient_M[i] + slope));
        ++compared;
      }
    }
  EXPECT_GT(compared, 1300);
  EXPECT_GT(control, 0.5);  // the wrong sign would be seen
}

}  // namespace
}  // namespace candor
