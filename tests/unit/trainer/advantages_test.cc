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

TEST(Moments, StdOfTheBatch) {
  Moments moments;
  AddCentred(Values{1.0, 0.0}, moments);
  AddCentred(Values{3.0, std::nullopt, 5.0}, moments);
  EXPECT_NEAR(moments.Std(), std::sqrt((.25 + .25 + 1 + 1) / 3), 1e-12);
  EXPECT_EQ(Moments{}.Std(), 0.0);
}

}  // namespace
}  // namespace candor
