// Losses against worked numbers, and their gradients against finite differences of a naive twin; each comparison has a control that shows
// it can fail.
#include "trainer/losses.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "trainer/aggregation.h"

namespace candor {
namespace {

LossSettings Settings(PolicyLoss loss) {
  LossSettings s;
  s.loss = loss;
  return s;
}

// One token with ratio rho against the rollout.
LossOutputs OneToken(const LossSettings& s, double rho, float advantage, float new_log_prob = -1.0f) {
  std::vector<float> p{new_log_prob}, rollout{new_log_prob - static_cast<float>(std::log(rho))}, a{advantage}, w{1.0f};
  return ComputePolicyLoss(s, {p, rollout, a, w});
}

// rho = [.7, 1, 1.5, 6], clip .2 / .28: A = +1 -> [-.7, -1, -1.28, -1.28]; A = -1 -> [.8, 1, 1.5, 3] (dual clip 3).
TEST(PpoClip, WorkedNumbers) {
  LossSettings s = Settings(PolicyLoss::kPpoClip);
  const double rho[] = {.7, 1, 1.5, 6}, up[] = {-.7, -1, -1.28, -1.28}, down[] = {.8, 1, 1.5, 3};
  for (int i = 0; i < 4; ++i) {
    EXPECT_NEAR(OneToken(s, rho[i], 1).sum, up[i], 2e-6);
    EXPECT_NEAR(OneToken(s, rho[i], -1).sum, down[i], 2e-6);
    EXPECT_EQ(OneToken(s, rho[i], 1).sum, OneToken(Settings(PolicyLoss::kDrGrpo), rho[i], 1).sum);
  }
  s.dual_clip = 0;
  EXPECT_NEAR(OneToken(s, 6, -1).sum, 6, 1e-5);  // the control: without the dual clip the last number is another
}

TEST(Cispo, TheWeightIsCutAndTheGradientStays) {
  LossSettings s = Settings(PolicyLoss::kCispo);
  EXPECT_NEAR(OneToken(s, 1.5, 2).gradient_M[0], -3.0, 1e-5);
  EXPECT_NEAR(OneToken(s, 6, 2).gradient_M[0], -8.0, 1e-5);  // clip_max 4
  EXPECT_NEAR(OneToken(s, .1, 2).gradient_M[0], -.2, 1e-5);  // no lower clip
  EXPECT_NEAR(OneToken(s, 6, 2, -.5f).sum, 4.0, 1e-5);       // -4 * 2 * -.5
  EXPECT_EQ(OneToken(s, 6, 2).counts.clipped, 1.0);
  EXPECT_EQ(OneToken(Settings(PolicyLoss::kPpoClip), 6, 2).gradient_M[0], 0.0f);  // where ppo has no gradient left
}

TEST(Rloo, TruncatedWeight) {
  LossSettings s = Settings(PolicyLoss::kRloo);
  EXPECT_NEAR(OneToken(s, 1.5, 1).gradient_M[0], -1.5, 1e-5);
  EXPECT_NEAR(OneToken(s, 6, 1).gradient_M[0], -2.0, 1e-5);  // tis_max 2
  s.correction.tis_max = 0;
  EXPECT_NEAR(OneToken(s, 6, 1).gradient_M[0], -1.0, 1e-5);
}

TEST(TruncatedImportanceSampling, EntersWhenTheOldPolicyIsTheLearners) {
  LossSettings s = Settings(PolicyLoss::kPpoClip);
  s.old_policy = OldPolicy::kLearner;
  for (double rho : {.5, 1.0, 1.9, 7.0}) {
    LossOutputs out = OneToken(s, rho, 1);
    EXPECT_NEAR(out.gradient_M[0], -std::min(rho, 2.0), 1e-5);  // ratio exactly 1, so never clipped
    EXPECT_EQ(out.counts.ratio_max, 1.0);
  }
}

// The losses once more, from the formula sheet, in plain double and with stop-gradient constants made explicit: f(p; p0) where p0 is where
// constants are taken.
double Naive(const LossSettings& s, double p, double p0, double rollout, double advantage) {
  double old0 = s.old_policy == OldPolicy::kRollout ? rollout : p0, rho = std::exp(p - old0);
  double tis = s.correction.tis_max > 0 ? std::min(std::exp(old0 - rollout), s.correction.tis_max) : 1;
  if (s.loss == PolicyLoss::kCispo) return -tis * std::min(std::exp(p0 - old0), s.clip_max) * advantage * p;
  if (s.loss == PolicyLoss::kRloo)
    return -(s.correction.tis_max > 0 ? std::min(std::exp(p0 - rollout), s.correction.tis_max) : 1) * advantage * p;
  double low = 1 - s.clip_low, high = 1 + s.clip_high;
  double loss = std::max(-advantage * rho, -advantage * (rho < low ? low : rho > high ? high : rho));
  if (advantage < 0 && s.dual_clip > 0) loss = std::min(loss, -advantage * s.dual_clip);
  return tis * loss;
}

TEST(PolicyLosses, ValuesAndGradientsAgreeWithANaiveTwin) {
  std::mt19937 random(11);
  std::uniform_real_distribution<float> log_prob(-4, -.01f), noise(-2.2f, 2.2f), advantage(-2, 2);
  double largest_gap_of_control = 0;
  for (PolicyLoss loss : {PolicyLoss::kCispo, PolicyLoss::kPpoClip, PolicyLoss::kDrGrpo, PolicyLoss::kRloo})
    for (OldPolicy old : {OldPolicy::kRollout, OldPolicy::kLearner})
      for (int i = 0; i < 400; ++i) {
        LossSettings s = Settings(loss);
        s.old_policy = old;
        s.dual_clip = i % 2 ? 3 : 0, s.correction.tis_max = i % 3 ? 2 : 0;
        std::vector<float> p{log_prob(random)}, rollout{p[0] + noise(random)}, a{advantage(random)}, w{.37f};
        LossOutputs out = ComputePolicyLoss(s, {p, rollout, a, w});
        double h = 1e-6, p0 = p[0];
        auto at = [&](double x) { return static_cast<double>(w[0]) * Naive(s, x, p0, rollout[0], a[0]); };
        EXPECT_NEAR(out.sum, at(p0), 1e-5 * (1 + std::abs(out.sum)));
        double slope = (at(p0 + h) - at(p0 - h)) / (2 * h), rho = std::exp(p0 - rollout[0]);
        if (std::abs(rho - 1.28) < 1e-3 || std::abs(rho - .8) < 1e-3 || std::abs(rho - 3) < 1e-3) continue;  // a corner
        EXPECT_NEAR(out.gradient_M[0], slope, 1e-4 * (1 + std::abs(slope)));
        largest_gap_of_control = std::max(largest_gap_of_control, std::abs(out.gradient_M[0] + slope));
      }
  EXPECT_GT(largest_gap_of_control, 1.0);  // the wrong sign would be seen
}

TEST(PolicyLosses, AWeightOfZeroLeavesATokenOut) {
  std::vector<float> p{-1, -1}, rollout{-1, 100}, a{1, std::nanf("")}, w{1, 0};
  LossOutputs out = ComputePolicyLoss(Settings(PolicyLoss::kCispo), {p, rollout, a, w});
  EXPECT_EQ(out.counts.tokens, 1.0);
  EXPECT_EQ(out.gradient_M[1], 0.0f);
  EXPECT_TRUE(std::isfinite(out.sum));
}

TEST(PolicyLosses, HugeRatiosStayFinite) {
  for (PolicyLoss loss : {PolicyLoss::kCispo, PolicyLoss::kPpoClip, PolicyLoss::kRloo})
    for (float gap : {-1e4f, 1e4f}) {
      std::vector<float> p{-5}, rollout{-5 + gap}, a{-1}, w{1};
      LossOutputs out = ComputePolicyLoss(Settings(loss), {p, rollout, a, w});
      EXPECT_TRUE(std::isfinite(out.sum) && std::isfinite(out.gradient_M[0]));
    }
}

// Credo: a = [1,1,0,0,0,0,0,1], c = [.9,.6,.9,.2,.4,.1,.3,.8], gamma = .5 -> targets .6875 and .1875, loss .07984375 and these gradients.
TEST(Slot, SquaredErrorWorkedNumbers) {
  const double a[] = {1, 1, 0, 0, 0, 0, 0, 1}, c[] = {.9, .6, .9, .2, .4, .1, .3, .8};
  const double want[] = {.004781, -.00525, .016031, .0005, .01275, -.001969, .005906, .0045};
  std::vector<float> margins, targets, weights(8, 1.0f / 8);
  for (int i = 0; i < 8; ++i)
    margins.push_back(static_cast<float>(std::log(c[i] / (1 - c[i])))), targets.push_back(static_cast<float>(.5 * a[i] + .5 * .375));
  EXPECT_FLOAT_EQ(targets[0], .6875f);
  SlotOutputs out = ComputeSlotSquaredError({margins, targets, weights});
  EXPECT_NEAR(out.sum, .07984375, 1e-7);
  for (int i = 0; i < 8; ++i) EXPECT_NEAR(out.gradient_S[i], want[i], 1e-6);
  targets[0] = 1.0f;  // the control: gamma = 1 is another loss
  EXPECT_GT(std::abs(ComputeSlotSquaredError({margins, targets, weights}).sum - .07984375), 1e-3);
}

TEST(Slot, GradientsAgreeWithFiniteDifferences) {
  auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  for (float margin : {-6.0f, -1.3f, 0.0f, .4f, 5.0f})
    for (float target : {0.0f, .3f, 1.0f}) {
      std::vector<float> m{margin}, t{target}, w{.5f};
      auto square = [&](double x) { return .5 * std::pow(sigmoid(x) - target, 2); };
      auto cross = [&](double x) { return -.5 * (target * std::log(sigmoid(x)) + (1 - target) * std::log(1 - sigmoid(x))); };
      double h = 1e-5;
      EXPECT_NEAR(ComputeSlotSquaredError({m, t, w}).gradient_S[0], (square(margin + h) - square(margin - h)) / (2 * h), 1e-7);
      EXPECT_NEAR(ComputeSlotCrossEntropy({m, t, w}).sum, cross(margin), 1e-6);
      EXPECT_NEAR(ComputeSlotCrossEntropy({m, t, w}).gradient_S[0], (cross(margin + h) - cross(margin - h)) / (2 * h), 1e-6);
    }
  std::vector<float> far{800.0f, -800.0f}, t{0.0f, 1.0f}, w{1, 1};
  EXPECT_NEAR(ComputeSlotCrossEntropy({far, t, w}).sum, 1600, 1e-3);  // no overflow
}

// Per-token losses [1,1] and [2 x 6]: token mean 1.75, mean of means 1.5, mean of sums 7.
TEST(Aggregation, WorkedNumbers) {
  Denominators all{8, 2, 1, 0};
  auto total = [&](Aggregation kind, double norm = 1) {
    return 2 * 1 * TokenWeight(kind, all, 2, 8, norm) + 6 * 2 * TokenWeight(kind, all, 6, 8, norm);
  };
  EXPECT_DOUBLE_EQ(total(Aggregation::kToken), 1.75);
  EXPECT_DOUBLE_EQ(total(Aggregation::kSequence), 1.5);
  EXPECT_DOUBLE_EQ(total(Aggregation::kSequenceSum), 7);
  EXPECT_DOUBLE_EQ(total(Aggregation::kFixedLength, 10), .7);
  EXPECT_DOUBLE_EQ(total(Aggregation::kPrompt), 1.75);  // both traces belong to one prompt
  Denominators two_prompts{8, 2, 2, 0};
  EXPECT_DOUBLE_EQ(
      2 * 1 * TokenWeight(Aggregation::kPrompt, two_prompts, 2, 2, 1) + 6 * 2 * TokenWeight(Aggregation::kPrompt, two_prompts, 6, 6, 1),
      1.5);
  EXPECT_EQ(TokenWeight(Aggregation::kToken, {}, 1, 1, 1), 0.0);
}

TEST(Aggregation, AutoFollowsTheLoss) {
  TrainerOptions options;
  EXPECT_EQ(CheckAggregation(options).value(), Aggregation::kPrompt);
  options.loss = "ppo_clip";
  EXPECT_EQ(CheckAggregation(options).value(), Aggregation::kSequence);
  options.loss = "rloo";
  EXPECT_EQ(CheckAggregation(options).value(), Aggregation::kSequenceSum);
  options.loss = "dr_grpo";
  EXPECT_EQ(CheckAggregation(options).value(), Aggregation::kFixedLength);
  options.aggregation = "token";
  EXPECT_FALSE(CheckAggregation(options));
  options.loss = "ppo_clip", options.dual_clip = .5;
  EXPECT_FALSE(CheckLoss(options));
}

}  // namespace
}  // namespace candor
