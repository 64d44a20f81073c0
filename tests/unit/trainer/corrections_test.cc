// Truncation, rejection, distance estimators and preferences against worked numbers; gradients against finite differences.
#include "trainer/corrections.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"
#include "trainer/kl.h"
#include "trainer/losses.h"
#include "trainer/preference.h"

namespace candor {
namespace {

Corrections Correct(const CorrectionSettings& s, const std::vector<double>& d, const std::vector<size_t>& starts = {}) {
  std::vector<float> weights(d.size(), 1.0f);
  return ComputeCorrections(s, {d, d, weights, starts});
}

TEST(Corrections, TruncatesTokensOrSequences) {
  CorrectionSettings s;
  Corrections token = Correct(s, {std::log(1.5), std::log(3.0), std::log(.5)});
  EXPECT_NEAR(token.factor_M[0], 1.5, 1e-12);
  EXPECT_NEAR(token.factor_M[1], 2.0, 1e-12);
  EXPECT_NEAR(token.factor_M[2], 0.5, 1e-12);
  s.tis_level = TisLevel::kSequence;
  Corrections sequence = Correct(s, {.1, -.05, .2, -1.0}, {0, 3});
  for (int i = 0; i < 3; ++i) EXPECT_NEAR(sequence.factor_M[static_cast<size_t>(i)], 1.284025, 1e-6);
  EXPECT_NEAR(sequence.factor_M[3], std::exp(-1.0), 1e-12);
  s.tis_max = 0;
  EXPECT_EQ(Correct(s, {5.0}).factor_M[0], 1.0);
}

// log rho = [.1, -.05, .2]: k3 .009268, k2 .00875, geometric 1.0869, product 1.284025.
TEST(Corrections, RejectsByEachMeasure) {
  const std::vector<double> d{.1, -.05, .2};
  const std::pair<RejectBy, double> measures[] = {
      {RejectBy::kK3, .009268}, {RejectBy::kK2, .00875}, {RejectBy::kGeometric, 1.086904}, {RejectBy::kSequence, 1.284025}};
  for (auto [by, measure] : measures) {
    CorrectionSettings s;
    s.tis_max = 0, s.reject = by;
    s.reject_high = measure + 1e-6;
    EXPECT_EQ(Correct(s, d).rejected, 0.0);
    s.reject_high = measure - 1e-6;
    EXPECT_EQ(Correct(s, d).rejected, 3.0);
    s.reject_low = measure + 1e-6, s.reject_high = 100;
    EXPECT_EQ(Correct(s, d).rejected, 3.0);
  }
  CorrectionSettings token;
  token.tis_max = 0, token.reject = RejectBy::kToken, token.reject_high = 1.15;
  EXPECT_EQ(Correct(token, d).factor_M, (std::vector<double>{1, 1, 0}));
}

// 1.1^10 = 2.6 and 1.1^100 = 13,780: a product rejects what is long, a geometric mean does not.
TEST(Corrections, TheProductGrowsWithLength) {
  CorrectionSettings s;
  s.tis_max = 0, s.reject = RejectBy::kSequence, s.reject_high = 5;
  EXPECT_EQ(Correct(s, std::vector<double>(10, std::log(1.1))).rejected, 0.0);
  EXPECT_EQ(Correct(s, std::vector<double>(100, std::log(1.1))).rejected, 100.0);
  s.reject = RejectBy::kGeometric;
  EXPECT_EQ(Correct(s, std::vector<double>(100, std::log(1.1))).rejected, 0.0);
}

TEST(Corrections, RejectedTokensKeepTheirShareOfTheDenominator) {
  LossSettings s;
  s.correction.reject = RejectBy::kToken, s.correction.reject_high = 2;
  std::vector<float> now{-1, -1}, rollout{-1, -3}, advantages{1, 1}, weights{.5f, .5f};
  LossOutputs out = ComputePolicyLoss(s, {now, rollout, advantages, weights});
  EXPECT_EQ(out.counts.rejected, 1.0);
  EXPECT_EQ(out.weight, 1.0);
  EXPECT_EQ(out.gradient_M[1], 0.0f);
  EXPECT_FLOAT_EQ(out.gradient_M[0], -.5f);
  s.correction.reject = RejectBy::kNothing;
  EXPECT_NE(ComputePolicyLoss(s, {now, rollout, advantages, weights}).gradient_M[1], 0.0f);  // the control
}

TEST(Kl, EstimatorsAndTheirGradients) {
  const double p = -1.3, reference = -1.0, d = p - reference;
  EXPECT_NEAR(EstimateKl(KlEstimator::kK1, p, reference), -.3, 1e-12);
  EXPECT_NEAR(EstimateKl(KlEstimator::kK2, p, reference), .045, 1e-12);
  EXPECT_NEAR(EstimateKl(KlEstimator::kK3, p, reference), std::exp(.3) - .3 - 1, 1e-12);
  std::vector<float> now{static_cast<float>(p)}, ref{static_cast<float>(reference)}, weight{.7f};
  for (KlEstimator e : {KlEstimator::kK2, KlEstimator::kK3}) {
    const double h = 1e-6, slope = .7 * (EstimateKl(e, p + h, reference) - EstimateKl(e, p - h, reference)) / (2 * h);
    EXPECT_NEAR(ComputeKl(e, {now, ref, weight}).gradient_M[0], slope, 1e-6);
    EXPECT_GT(std::abs(ComputeKl(e, {now, ref, weight}).gradient_M[0] + slope), .1);  // the wrong sign would be seen
  }
  EXPECT_NEAR(ComputeKl(KlEstimator::kK1, {now, ref, weight}).gradient_M[0], .7 * d, 1e-6);
  EXPECT_NEAR(ComputeKl(KlEstimator::kK1, {now, ref, weight}).sum, .7 * d, 1e-6);
}

// Over all tokens of a small vocabulary: k1 and k3 have the true divergence as their mean, and the mean gradients of k1 (as it enters) and
// k2 are the divergence's own; k3's is that of the forward one; k1's own derivative has mean zero.
TEST(Kl, MeansOverAVocabulary) {
  const double logits[] = {.3, -1, .8, 0}, reference_logits[] = {0, .2, -.5, .4};
  auto log_probs = [](const double* z) {
    double sum = 0;
    for (int i = 0; i < 4; ++i) sum += std::exp(z[i]);
    std::vector<double> out;
    for (int i = 0; i < 4; ++i) out.push_back(z[i] - std::log(sum));
    return out;
  };
  auto p = log_probs(logits), r = log_probs(reference_logits);
  double kl = 0, k1 = 0, k3 = 0, weighted_k2 = 0;
  for (size_t i = 0; i < 4; ++i) {
    double pi = std::exp(p[i]);
    kl += pi * (p[i] - r[i]);
    k1 += pi * EstimateKl(KlEstimator::kK1, p[i], r[i]), k3 += pi * EstimateKl(KlEstimator::kK3, p[i], r[i]);
    weighted_k2 += pi * EstimateKl(KlEstimator::kK2, p[i], r[i]);
  }
  EXPECT_NEAR(k1, kl, 1e-12);
  EXPECT_NEAR(k3, kl, 1e-12);
  EXPECT_GT(std::abs(weighted_k2 - kl), 1e-3);  // biased
  for (size_t z = 0; z < 4; ++z) {              // d/dz of the divergence, against the mean over tokens of slope * d log p(token) / dz
    double moved[4], h = 1e-6, value[2];
    for (int side = 0; side < 2; ++side) {
      std::copy(logits, logits + 4, moved);
      moved[z] += side ? h : -h;
      auto q = log_probs(moved);
      value[side] = 0;
      for (size_t i = 0; i < 4; ++i) value[side] += std::exp(q[i]) * (q[i] - r[i]);
    }
    double want = (value[1] - value[0]) / (2 * h), got = 0, plain = 0;
    for (size_t i = 0; i < 4; ++i) {
      std::vector<float> now{static_cast<float>(p[i])}, ref{static_cast<float>(r[i])}, one{1};
      double score = (i == z ? 1 : 0) - std::exp(p[z]);
      got += std::exp(p[i]) * static_cast<double>(ComputeKl(KlEstimator::kK2, {now, ref, one}).gradient_M[0]) * score;
      plain += std::exp(p[i]) * score;
    }
    EXPECT_NEAR(got, want, 1e-6);
    EXPECT_NEAR(plain, 0.0, 1e-12);
  }
}

TEST(Preference, LossAndGradientAgreeWithADifferenceQuotient) {
  std::vector<float> chosen{-1, -2}, chosen_ref{-1.5f, -2}, rejected{-3, -1, -1}, rejected_ref{-2, -1, -1};
  auto naive = [&](double shift_chosen, double shift_rejected) {
    double margin = .2 * ((-3 + shift_chosen + 3.5) - (-5 + shift_rejected + 4));
    return -std::log(1 / (1 + std::exp(-margin)));
  };
  PreferenceOutputs out = ComputePreference(.2, chosen, chosen_ref, rejected, rejected_ref);
  EXPECT_NEAR(out.margin, .2 * 1.5, 1e-6);
  EXPECT_NEAR(out.loss, naive(0, 0), 1e-6);
  double h = 1e-6;
  EXPECT_NEAR(out.slope, (naive(h, 0) - naive(-h, 0)) / (2 * h), 1e-6);
  EXPECT_NEAR(-out.slope, (naive(0, h) - naive(0, -h)) / (2 * h), 1e-6);
  EXPECT_LT(out.slope, -.05);
  // Where policy and reference agree: ln 2, whatever beta.
  EXPECT_NEAR(ComputePreference(3, chosen, chosen, rejected, rejected).loss, std::log(2.0), 1e-9);
  std::vector<float> far{5000};
  std::vector<float> zero{0};
  EXPECT_NEAR(ComputePreference(1, zero, far, zero, zero).loss, 5000, 1e-3);  // no overflow
}

TEST(Preference, PairsAreTheBestAndTheWorst) {
  using Values = std::vector<std::optional<double>>;
  EXPECT_EQ(ChoosePair(Values{.2, std::nullopt, .9, .9, .1}), (std::pair<size_t, size_t>(2, 4)));
  EXPECT_FALSE(ChoosePair(Values{.5, .5, std::nullopt}));
  EXPECT_FALSE(ChoosePair(Values{std::nullopt, 1.0}));
  EXPECT_FALSE(ChoosePair(Values{}));
}

}  // namespace
}  // namespace candor
