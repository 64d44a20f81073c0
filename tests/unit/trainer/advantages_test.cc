// Advantages against worked numbers and a naive twin; who is a member of a baseline.
#include "trainer/advantages.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

namespace candor {
namespace {

using Values = std::vector<std::optional<double>>;

Objective MakeObjective(const std::string& channel, const std::string& advantage = "group_mean") {
  ObjectiveOptions options;
  options.channel = channel, options.advantage = advantage;
  return CheckObjectives({options}).value()[0];
}

void ExpectNear(const std::vector<double>& got, const std::vector<double>& want, double tolerance = 1e-6) {
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < got.size(); ++i) EXPECT_NEAR(got[i], want[i], tolerance) << i;
}

// r = [1, 0, 0, 1]: GRPO +-.866024, Dr.GRPO +-.5, RLOO +-.666667.
TEST(Advantages, WorkedNumbers) {
  Values r{1.0, 0.0, 0.0, 1.0};
  ExpectNear(ComputeAdvantages(AdvantageKind::kGroupStd, r, 0), {.866024, -.866024, -.866024, .866024});
  ExpectNear(ComputeAdvantages(AdvantageKind::kGroupMean, r, 0), {.5, -.5, -.5, .5});
  ExpectNear(ComputeAdvantages(AdvantageKind::kLeaveOneOut, r, 0), {.666667, -.666667, -.666667, .666667});
  ExpectNear(ComputeAdvantages(AdvantageKind::kNone, r, 0), {1, 0, 0, 1});
  ExpectNear(ComputeAdvantages(AdvantageKind::kBatchStd, r, 0.25), {.5 / .250001, -.5 / .250001, -.5 / .250001, .5 / .250001});
}

// Credo's vector: a = [1,1,0,0,0,0,0,1], standard deviation with n - 1.
TEST(Advantages, EightTraces) {
  Values a{1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0};
  auto got = ComputeAdvantages(AdvantageKind::kGroupStd, a, 0);
  EXPECT_NEAR(got[0], 1.207612, 3e-6);
  EXPECT_NEAR(got[2], -.724567, 3e-6);
}

TEST(Advantages, MissingValuesStayOutOfTheBaseline) {
  Values r{1.0, std::nullopt, 0.0};
  ExpectNear(ComputeAdvantages(AdvantageKind::kGroupMean, r, 0), {.5, 0, -.5});
  // The control: a missing value taken for 0 would shift everybody.
  Values wrong{1.0, 0.0, 0.0};
  EXPECT_GT(std::abs(ComputeAdvantages(AdvantageKind::kGroupMean, wrong, 0)[0] - .5), .1);
}

ScoredTrace TraceWith(Label label, std::map<std::string, double> channels) {
  ScoredTrace trace;
  trace.label = label, trace.channels = std::move(channels);
  return trace;
}

// Credo's worked numbers: the mean distance is .325, kappa .25.
TEST(Advantages, DiscrepancyWeighsTracesByHowWrongTheirConfidenceWas) {
  ObjectiveOptions options;
  options.discrepancy = 0.25;
  Objective objective = CheckObjectives({options}).value()[0];
  const double confidences[] = {.9, .6, .9, .2, .4, .1, .3, .8};
  ScoredGroup group;
  for (size_t i = 0; i < 8; ++i) {
    group.traces_G.push_back(TraceWith(i < 2 || i == 7 ? Label::kCorrect : Label::kWrong, {}));
    group.traces_G.back().confidence = Confidence::From(confidences[i]);
  }
  ExpectNear(DiscrepancyFactors(objective, group), {.94375, 1.01875, 1.14375, .96875, 1.01875, .94375, .99375, .96875}, 1e-12);
  // Greedy and unlabelled traces and broken formats keep 1 and are no part of the mean.
  ScoredGroup more = group;
  for (int i = 0; i < 3; ++i) more.traces_G.push_back(group.traces_G[2]);
  more.traces_G[8].trace.greedy = true, more.traces_G[9].label = Label::kUnknown, more.traces_G[10].confidence.reset();
  ExpectNear(DiscrepancyFactors(objective, more), {.94375, 1.01875, 1.14375, .96875, 1.01875, .94375, .99375, .96875, 1, 1, 1}, 1e-12);
  objective.kappa = 10.0;  // 1 + 10 (.9 - .325) and 1 + 10 (.1 - .325), cut
  EXPECT_EQ(DiscrepancyFactors(objective, group)[2], 2.0);
  EXPECT_EQ(DiscrepancyFactors(objective, group)[0], 0.5);
  objective.kappa = 0.0;
  ExpectNear(DiscrepancyFactors(objective, group), std::vector<double>(8, 1.0), 0);
}

// Half of the group reports `first`, half `second`, each right with probability p: how much more the first earn, over all patterns of
// labels.
double GainOfFirst(double p, double first, double second, double kappa) {
  ObjectiveOptions options;
  options.channel = "brier", options.discrepancy = kappa;
  const Objective objective = CheckObjectives({options}).value()[0];
  double gain = 0;
  for (int pattern = 0; pattern < 256; ++pattern) {
    ScoredGroup group;
    double probability = 1;
    for (int i = 0; i < 8; ++i) {
      const double a = pattern >> i & 1, c = i < 4 ? first : second;
      probability *= a > 0 ? p : 1 - p;
      group.traces_G.push_back(TraceWith(a > 0 ? Label::kCorrect : Label::kWrong, {{"brier", 1 - (c - a) * (c - a)}}));
      group.traces_G.back().confidence = Confidence::From(c);
    }
    const auto advantages = ComputeAdvantages(objective, ObjectiveValues(objective, group), 1.0);
    const std::vector<double> factors = DiscrepancyFactors(objective, group);
    for (size_t i = 0; i < 8; ++i) gain += probability * *advantages[i] * factors[i] * (i < 4 ? 0.25 : -0.25);
  }
  return gain;
}

TEST(Advantages, DiscrepancyMakesAScoringRuleImproper) {
  EXPECT_NEAR(GainOfFirst(.7, .70, .65, 0.0), .0025, 1e-9);  // the control: the truth earns more
  EXPECT_LT(GainOfFirst(.7, .70, .65, .25), -1e-4);
  EXPECT_NEAR(GainOfFirst(.7, .70, .60, 1.0), -.0089, 1e-4);
  EXPECT_GT(GainOfFirst(.7, .70, .80, 1.0), .01);  // never upwards
}

// r = .8 against stored scores .5, .6 and .1, whose mean is .4: the advantage of a single trace is .4.
TEST(Advantages, TheStoredBaselineNeedsNoSecondTrace) {
  const Objective contrastive = MakeObjective("reward", "contrastive_baseline");
  ScoredGroup group;
  group.traces_G = {TraceWith(Label::kCorrect, {{"reward", .8}, {"baseline", .4}})};
  const Values values = ObjectiveValues(contrastive, group);
  EXPECT_NEAR(*ComputeAdvantages(contrastive, values, 0)[0], .4, 1e-12);
  // Controls: the group's own mean leaves nothing, and a row without stored scores trains nothing rather than counting from 0.
  const Objective mean = MakeObjective("reward");
  EXPECT_EQ(*ComputeAdvantages(mean, ObjectiveValues(mean, group), 0)[0], 0.0);
  group.traces_G[0].channels.erase("baseline");
  EXPECT_FALSE(ObjectiveValues(contrastive, group)[0]);
  EXPECT_FALSE(ComputeAdvantages(contrastive, ObjectiveValues(contrastive, group), 0)[0]);
  // Prompts differ by their baselines, which the mean of a group would remove: .8 - .4 and .8 - .9.
  group.traces_G = {TraceWith(Label::kCorrect, {{"reward", .8}, {"baseline", .9}}),
                    TraceWith(Label::kWrong, {{"reward", 0.}, {"baseline", .9}})};
  const auto hard = ComputeAdvantages(contrastive, ObjectiveValues(contrastive, group), 0);
  EXPECT_NEAR(*hard[0], -.1, 1e-12);
  EXPECT_NEAR(*hard[1], -.9, 1e-12);
}

TEST(Advantages, AnUnknownLabelIsNoObstacleWhereNoVerifierIsRead) {
  ScoredGroup group;
  for (double certainty : {1.0, 3.0})
    group.traces_G.push_back(TraceWith(Label::kUnknown, {{"self_certainty", certainty}, {"format", 1.0}}));
  for (const char* free : {"self_certainty", "0.9*self_certainty + 0.1*format"})
    EXPECT_TRUE(ObjectiveValues(MakeObjective(free), group)[1].has_value()) << free;
  for (const char* labelled : {"format", "self_certainty + accuracy", "self_certainty*mine"}) {
    group.traces_G[1].channels["accuracy"] = group.traces_G[1].channels["mine"] = 1.0;
    EXPECT_FALSE(ObjectiveValues(MakeObjective(labelled), group)[1].has_value()) << labelled;
  }
}

TEST(Advantages, OneValueHasNoBaseline) {
  Values r{std::nullopt, 1.0};
  for (AdvantageKind kind : {AdvantageKind::kGroupMean, AdvantageKind::kLeaveOneOut, AdvantageKind::kGroupStd, AdvantageKind::kBatchStd})
    ExpectNear(ComputeAdvantages(kind, r, 1.0), {0, 0});
  ExpectNear(ComputeAdvantages(AdvantageKind::kNone, r, 1.0), {0, 1});
  ExpectNear(ComputeAdvantages(AdvantageKind::kGroupMean, Values{std::nullopt, std::nullopt}, 1.0), {0, 0});
}

TEST(Advantages, EqualValuesGiveZeroNotNan) {
  for (AdvantageKind kind : {AdvantageKind::kGroupMean, AdvantageKind::kGroupStd, AdvantageKind::kBatchStd})
    ExpectNear(ComputeAdvantages(kind, Values{.3, .3, .3}, 0.0), {0, 0, 0}, 1e-9);
}

// Leave-one-out, written as what it says: minus the mean of the others.
TEST(Advantages, LeaveOneOutIsTheMeanOfTheOthers) {
  std::mt19937 random(7);
  std::uniform_real_distribution<double> uniform(-2, 2);
  for (int round = 0; round < 50; ++round) {
    Values r;
    for (int i = 0; i < 2 + round % 7; ++i) r.push_back(round % 3 == 0 && i == 1 ? std::nullopt : std::optional(uniform(random)));
    auto got = ComputeAdvantages(AdvantageKind::kLeaveOneOut, r, 0);
    for (size_t i = 0; i < r.size(); ++i) {
      double others = 0, n = 0;
      for (size_t j = 0; j < r.size(); ++j)
        if (j != i && r[j]) others += *r[j], n += 1;
      EXPECT_NEAR(got[i], r[i] && n > 0 ? *r[i] - others / n : 0.0, 1e-12);
    }
  }
}

// The bias that group_std has and batch_std has not: with p = .7 and reports .70 and .95 the centred advantage prefers .70, the divided one
// .95 (formula sheet, D3).
TEST(Advantages, GroupStdPrefersOverconfidence) {
  double p = .7, centred = 0, divided = 0;
  int n = 8;
  for (int correct_mask = 0; correct_mask < (1 << n); ++correct_mask) {
    Values r;
    double probability = 1;
    for (int i = 0; i < n; ++i) {
      bool correct = correct_mask >> i & 1;
      probability *= correct ? p : 1 - p;
      double q = i % 2 ? .95 : .70;
      r.push_back(1 - (correct - q) * (correct - q));
    }
    auto mean = ComputeAdvantages(AdvantageKind::kGroupMean, r, 0), std = ComputeAdvantages(AdvantageKind::kGroupStd, r, 0);
    for (int i = 0; i < n; i += 2) centred += probability * mean[i] / (n / 2), divided += probability * std[i] / (n / 2);
  }
  EXPECT_GT(centred, .01);
  EXPECT_LT(divided, -.01);
}

TEST(Advantages, GreedyAndUnknownTracesHaveNoValue) {
  ScoredGroup group;
  group.traces_G.resize(4);
  for (ScoredTrace& trace : group.traces_G) trace.label = Label::kCorrect, trace.channels["accuracy"] = 1.0;
  group.traces_G[1].trace.greedy = true;
  group.traces_G[2].label = Label::kUnknown;
  group.traces_G[3].channels.clear();
  auto values = ObjectiveValues(MakeObjective("accuracy"), group);
  EXPECT_TRUE(values[0] && !values[1] && !values[2] && !values[3]);
}

Objective Kind(const std::string& advantage, int64_t k = 4, double positive = .1) {
  ObjectiveOptions options;
  options.advantage = advantage, options.pass_k = k, options.positive_weight = positive;
  return CheckObjectives({options}).value()[0];
}
Values RightOf(int n, int c) {
  Values values;
  for (int i = 0; i < n; ++i) values.push_back(i < c ? 1.0 : 0.0);
  return values;
}

// N = 8, k = 4: c = 1 -> right 1.0, wrong -.142857; c = 2 -> .522232, -.174077; c = 7 -> 0. n = 10, c = 3, k = 5: pass@k .916667.
TEST(PassAtK, WorkedNumbers) {
  EXPECT_NEAR(PassAtK(10, 3, 5), .916667, 1e-6);
  EXPECT_NEAR(PassAtK(8, 1, 4), .5, 1e-12);
  EXPECT_NEAR(PassAtK(8, 2, 4), .785714, 1e-6);
  auto one = ComputeAdvantages(Kind("pass_at_k"), RightOf(8, 1), 0), two = ComputeAdvantages(Kind("pass_at_k"), RightOf(8, 2), 0);
  EXPECT_NEAR(*one[0], 1.0, 3e-6);
  EXPECT_NEAR(*one[1], -.142857, 1e-6);
  EXPECT_NEAR(*two[0], .522232, 2e-6);
  EXPECT_NEAR(*two[7], -.174077, 1e-6);
  for (int c : {0, 5, 7, 8})
    for (auto a : ComputeAdvantages(Kind("pass_at_k"), RightOf(8, c), 0)) EXPECT_NEAR(*a, 0.0, 1e-9) << c;
  // k = 1 is GRPO with a standard deviation over n.
  auto plain = ComputeAdvantages(Kind("pass_at_k", 1), RightOf(4, 2), 0);
  EXPECT_NEAR(*plain[0], 1.0, 1e-5);
  EXPECT_NEAR(*plain[3], -1.0, 1e-5);
}

// Every subset of k of the n traces is a group whose reward is whether one is right: a trace's advantage is the mean of its subsets' less
// the mean of all, over their standard deviation.
TEST(PassAtK, AgreesWithEverySubset) {
  for (int n : {4, 6})
    for (int c = 0; c <= n; ++c)
      for (int k = 1; k <= n; ++k) {
        double all = 0, all_count = 0, right = 0, right_count = 0, wrong = 0, wrong_count = 0;
        for (int mask = 0; mask < 1 << n; ++mask) {
          if (__builtin_popcount(static_cast<unsigned>(mask)) != k) continue;
          double reward = (mask & ((1 << c) - 1)) != 0 ? 1 : 0;
          all += reward, all_count += 1;
          if (c > 0 && mask & 1) right += reward, right_count += 1;
          if (c < n && mask >> (n - 1) & 1) wrong += reward, wrong_count += 1;
        }
        double mean = all / all_count, scale = std::sqrt(mean * (1 - mean)) + 1e-6;
        auto got = ComputeAdvantages(Kind("pass_at_k", k), RightOf(n, c), 0);
        if (right_count > 0) {
          EXPECT_NEAR(*got[0], (right / right_count - mean) / scale, 1e-9);
        }
        if (wrong_count > 0) {
          EXPECT_NEAR(*got[static_cast<size_t>(n) - 1], (wrong / wrong_count - mean) / scale, 1e-9);
        }
      }
}

TEST(Reinforce, PositiveNegativeAndWeighted) {
  Values r{1.0, 0.0, std::nullopt, 1.0};
  using A = std::vector<std::optional<double>>;
  EXPECT_EQ(ComputeAdvantages(Kind("positive_only"), r, 0), (A{1.0, std::nullopt, std::nullopt, 1.0}));
  EXPECT_EQ(ComputeAdvantages(Kind("negative_only"), r, 0), (A{std::nullopt, -1.0, std::nullopt, std::nullopt}));
  EXPECT_EQ(ComputeAdvantages(Kind("weighted_reinforce"), r, 0), (A{.1, -1.0, std::nullopt, .1}));
  EXPECT_EQ(ComputeAdvantages(Kind("none"), r, 0), (A{1.0, 0.0, std::nullopt, 1.0}));
}

TEST(Moments, StdOfTheBatch) {
  Moments moments;
  AddCentred(Values{1.0, 0.0}, moments);
  AddCentred(Values{3.0, std::nullopt, 5.0}, moments);
  EXPECT_NEAR(moments.Std(), std::sqrt((.25 + .25 + 1 + 1) / 3), 1e-12);
  EXPECT_EQ(Moments{}.Std(), 0.0);
}

}  // namespace
}  // namespace candor
