// docs/theory.md, each theorem checked numerically over a grid. Names are the document's headings.
#include <cmath>
#include <functional>

#include "calibration/scoring_rules.h"
#include "reward/filter.h"
#include "tests/unit/reward/testing.h"

namespace candor {
namespace {

using Loss = std::function<double(double q, double y)>;
const Loss kBrier = calibration::BrierScore;
const Loss kSpherical = [](double q, double y) { return -calibration::SphericalScore(q, y); };
const Loss kLog = [](double q, double y) { return calibration::LogScore(q, y, 1e-12); };

double Expected(const Loss& loss, double q, double p) { return p * loss(q, 1) + (1 - p) * loss(q, 0); }
double Value(const Loss& loss, double weight, double p) { return p - weight * Expected(loss, p, p); }  // accuracy weight 1, honest report
double Choose(int n, int k) { return std::exp(std::lgamma(n + 1) - std::lgamma(k + 1) - std::lgamma(n - k + 1)); }
double Binomial(int n, int k, double p) { return Choose(n, k) * std::pow(p, k) * std::pow(1 - p, n - k); }

// The report on a grid of 0.001 that maximises `gain`.
double Best(const std::function<double(double)>& gain) {
  double best = 0, most = -1e300;
  for (int i = 1; i < 1000; ++i)
    if (const double value = gain(i / 1000.0); value > most) most = value, best = i / 1000.0;
  return best;
}

TEST(Theory, ProperRulesAreBestAtTheTruth) {
  for (const Loss& loss : {kBrier, kSpherical, kLog})
    for (double p = 0.05; p < 1; p += 0.05) EXPECT_NEAR(Best([&](double q) { return -Expected(loss, q, p); }), p, 2e-3);
  EXPECT_NEAR(Best([](double q) { return -Expected([](double a, double y) { return std::abs(a - y); }, q, 0.3); }), 0.001, 1e-9)
      << "the control: |q - y| is not proper";
}

TEST(Theory, ValueRisesExactlyWhileTheSpreadStaysBelowTheAccuracyWeight) {
  const double h = 1e-5;
  for (const Loss& loss : {kBrier, kSpherical, kLog})
    for (double weight : {0.1, 0.5, 1.0, 1.5})
      for (double p = 0.002; p < 0.998; p += 0.004) {
        const double slope = (Value(loss, weight, p + h) - Value(loss, weight, p - h)) / (2 * h);
        EXPECT_NEAR(slope, 1 - weight * (loss(p, 1) - loss(p, 0)), 1e-4);  // Savage
      }
  for (double p : {0.0, .2, .5, .8, 1.0}) EXPECT_NEAR(Value(kBrier, 1, p), p * p, 1e-12);
}

TEST(Theory, TheLogScoreMakesASurelyWrongAnswerBetterThanAnHonestOne) {
  double lowest = 1, where = 0, crossing = 0;
  for (int i = 1; i < 100000; ++i) {
    const double p = i / 100000.0, v = Value(kLog, 1, p);
    if (v < lowest) lowest = v, where = p;
    if (v < 0) crossing = p;
  }
  EXPECT_NEAR(where, 0.26894, 1e-4);
  EXPECT_NEAR(lowest, -0.31326, 1e-5);
  EXPECT_NEAR(crossing, 0.648420, 2e-5);
  EXPECT_NEAR(Value(kLog, 1, .5), -.193, 1e-3);
  EXPECT_NEAR(Value(kLog, 1, .2), -.300, 1e-3);
  for (int i = 1; i < 1000; ++i) EXPECT_GE(Value(kBrier, 1, i / 1000.0), 0.0);
}

TEST(Theory, EffectiveWeights) {  // 1.5 Brier against 1 accuracy falls below p = 1/6; scaling both changes nothing
  EXPECT_LT(Value(kBrier, 1.5, .1), Value(kBrier, 1.5, 0));
  EXPECT_LT(Value(kBrier, 1.5, 1. / 6), Value(kBrier, 1.5, 1. / 6 - .05));
  EXPECT_LT(Value(kBrier, 1.5, 1. / 6), Value(kBrier, 1.5, 1. / 6 + .05));
}

// Expected advantage of stating `high` rather than `low` in a group of n whose members state either with even chances and are right with
// probability p whatever they state.
double Preference(double p, double low, double high, int n, bool by_std) {
  double preference = 0;
  for (int mask = 0; mask < 1 << (2 * n); ++mask) {
    double chance = 1, sum = 0, squares = 0, high_sum = 0, low_sum = 0;
    std::vector<double> rewards;
    for (int i = 0; i < n; ++i) {
      const bool right = mask >> i & 1, is_high = mask >> (n + i) & 1;
      chance *= (right ? p : 1 - p) / 2;
      rewards.push_back(-kBrier(is_high ? high : low, right));
      sum += rewards.back(), squares += rewards.back() * rewards.back();
    }
    const double mean = sum / n, std = std::sqrt(std::max(0.0, (squares - n * mean * mean) / (n - 1)));
    for (int i = 0; i < n; ++i)
      (mask >> (n + i) & 1 ? high_sum : low_sum) += (rewards[static_cast<size_t>(i)] - mean) / (by_std ? std + 1e-6 : 1);
    preference += chance * (high_sum - low_sum) / n;
  }
  return preference;
}

TEST(Theory, GroupStdExtremises) {  // the same group, the same reports: only the divisor differs
  EXPECT_LT(Preference(.7, .70, .95, 6, false), 0.0);
  EXPECT_GT(Preference(.7, .70, .95, 6, true), 0.0);
  EXPECT_GT(Preference(.3, .05, .30, 6, false), 0.0);
  EXPECT_LT(Preference(.3, .05, .30, 6, true), 0.0) << "towards 0 as well: it extremises";
}

TEST(Theory, AFilterConfinesLabelsAndTrainingOnAllGroupsFreesThem) {
  const int n = 8;
  for (double p : {.05, .3, .5, .9, .99}) {
    double kept = 0, kept_sum = 0, all_sum = 0;
    for (int k = 0; k <= n; ++k) {
      std::vector<ScoredTrace> traces(n);
      for (int i = 0; i < n; ++i) traces[static_cast<size_t>(i)].label = i < k ? Label::kCorrect : Label::kWrong;
      const DropReason drop = FilterGroup({}, traces);
      const double chance = Binomial(n, k, p), rate = static_cast<double>(k) / n;
      if (drop == DropReason::kNone) kept += chance, kept_sum += chance * rate;
      if (drop == DropReason::kNone || IsFiltered(drop)) all_sum += chance * rate;  // what the slot is trained on
    }
    EXPECT_GE(kept_sum / kept, 1.0 / n - 1e-12);
    EXPECT_LE(kept_sum / kept, 1 - 1.0 / n + 1e-12);
    EXPECT_NEAR(all_sum, p, 1e-9);
    if (p == .9) {
      EXPECT_NEAR(kept_sum / kept, .824, 1e-3);
    }
    if (p == .99) {
      EXPECT_LT(kept_sum / kept, .88) << "however sure the policy is";
    }
  }
}

TEST(Theory, AHybridTargetTrainsTheSampledRateIntoTheGreedyConfidence) {  // c* = lambda mu + (1 - lambda) p, lambda = g + (1 - g)/G
  for (double g : {0.0, .5, 1.0})
    for (int n : {2, 8}) {
      const double mu = .50, p = .37, lambda = g + (1 - g) / n;
      double mean = 0;  // of t over this answer's label and the others'
      for (int a = 0; a <= 1; ++a)
        for (int k = 0; k < n; ++k) mean += (a ? mu : 1 - mu) * Binomial(n - 1, k, p) * (g * a + (1 - g) * (a + k) / n);
      EXPECT_NEAR(mean, lambda * mu + (1 - lambda) * p, 1e-12);
      EXPECT_NEAR(mean - mu, (1 - lambda) * (p - mu), 1e-12);
      if (g == .5 && n == 8) {
        EXPECT_NEAR(mu - mean, .057, 1e-3);
      }
      if (g == 1) {
        EXPECT_NEAR(mean, mu, 1e-12);
      }
    }
}

TEST(Theory, BinaryRewardHasNoGradientOnAStatedNumber) {  // three numbers after the answer, softmax logits z
  const double z[3] = {.2, -.4, 1.0};
  double total = 0, pi[3], norm = 0;
  for (double x : z) norm += std::exp(x);
  for (int k = 0; k < 3; ++k) pi[k] = std::exp(z[k]) / norm;
  for (double p : {.2, .7})
    for (int j = 0; j < 3; ++j) {
      double accuracy_gradient = 0, brier_gradient = 0;
      for (int k = 0; k < 3; ++k)
        for (int a = 0; a <= 1; ++a) {
          const double chance = pi[k] * (a ? p : 1 - p), score = (k == j) - pi[j];
          accuracy_gradient += chance * a * score;
          brier_gradient += chance * -kBrier(k / 2.0, a) * score;
        }
      EXPECT_NEAR(accuracy_gradient, 0, 1e-15);
      total += std::abs(brier_gradient);
    }
  EXPECT_GT(total, .05) << "the control: a scoring rule has one";
}

TEST(Theory, AFiniteGroupShrinksTheGradientAndKeepsItsDirection) {  // centred with its own mean: (G - 1)/G; leave-one-out undoes it
  for (int n : {2, 4, 8})
    for (double p : {.1, .5, .8}) {
      double gradient = 0;  // E[(a_1 - mean)(a_1 - p)], with a_1 - p the score of a Bernoulli answer's logit
      for (int a = 0; a <= 1; ++a)
        for (int k = 0; k < n; ++k) gradient += (a ? p : 1 - p) * Binomial(n - 1, k, p) * (a - (a + k) / static_cast<double>(n)) * (a - p);
      EXPECT_NEAR(gradient, p * (1 - p) * (n - 1) / n, 1e-12);
      EXPECT_NEAR(gradient * n / (n - 1), p * (1 - p), 1e-12);
    }
}

}  // namespace
}  // namespace candor
