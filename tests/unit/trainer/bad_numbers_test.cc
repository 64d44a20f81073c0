// Numbers that are not finite (R13), put in at one rank of two: they never reach weights that would be published, both ranks come to the
// same verdict, what passes by is healed by computing the step again, and what stays is skipped or stops the run as the recipe says.
#include <algorithm>
#include <cmath>
#include <limits>

#include "tiny.h"
#include "trainer/rl_step.h"

namespace candor {
namespace {

using tiny::OnRanks;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInf = std::numeric_limits<float>::infinity();

RlSettings Settings(const std::string& bad_numbers) {
  TrainerOptions options;
  options.schedule.lr = 3e-3, options.tokens_per_microbatch = 64, options.steps = 5, options.bad_numbers = bad_numbers;
  ObjectiveOptions answer;
  answer.segment = "answer";
  return CheckRlSettings(options, {answer}, std::nullopt, true).value();
}

struct Seen {
  std::string verdict;  // why it was skipped, or the error; "" learned
  ErrorCode code = ErrorCode::kInternal;
  bool failed = false;
  double recomputed = -1;
  std::vector<float> before, after;
};

// One step by two ranks. `bad` is called on rank 1 after each of its backward passes with the number of this pass.
std::vector<Seen> Step(Sharding sharding, const std::string& bad_numbers, const std::function<void(int, ShardedPolicy&, ReportSums&)>& bad,
                       const std::function<void(ScoredGroup&)>& bad_group = {}) {
  return OnRanks<Seen>(2, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {sharding, DType::kFp32, true}, collective);
    policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
    RlSettings settings = Settings(bad_numbers);
    int pass = 0;
    if (collective.rank() == 1 && bad) settings.disturb = [&](ShardedPolicy& p, ReportSums& sums) { bad(++pass, p, sums); };
    RlStepper stepper(settings, policy);
    std::vector<ScoredGroup> mine{tiny::Group(1, static_cast<uint32_t>(collective.rank()))};
    if (collective.rank() == 1 && bad_group) bad_group(mine[0]);
    Seen seen;
    seen.before = tiny::Weights(policy);
    const auto result = stepper.Run(1, mine);
    seen.failed = !result;
    seen.verdict = result ? result->why : result.error().Message();
    if (!result) seen.code = result.error().code;
    if (result) seen.recomputed = result->metrics.at("optim/recomputed");
    seen.after = tiny::Weights(policy);
    return seen;
  });
}

const auto kLoss = [](int, ShardedPolicy&, ReportSums& sums) { sums.loss = static_cast<double>(kNan); };
const auto kGradient = [](int, ShardedPolicy& policy, ReportSums&) { policy.state(1).gradient.data_ptr<float>()[3] = kInf; };

TEST(BadNumbers, WhatStaysIsSkippedOnAllRanks) {
  int cases = 0;
  for (Sharding sharding : {Sharding::kNone, Sharding::kZero2, Sharding::kZero3}) {
    const auto log_prob = [](ScoredGroup& group) { group.traces_G[0].trace.log_probs_T[0] = kNan; };
    const auto log_prob_inf = [](ScoredGroup& group) { group.traces_G[0].trace.log_probs_T[0] = -kInf; };
    for (const auto& seen : {Step(sharding, "skip", kLoss), Step(sharding, "skip", kGradient), Step(sharding, "skip", {}, log_prob),
                             Step(sharding, "skip", {}, log_prob_inf)}) {
      ++cases;
      for (const Seen& one : seen) {
        EXPECT_FALSE(one.failed) << one.verdict;
        EXPECT_NE(one.verdict, "") << "case " << cases;
        EXPECT_EQ(one.verdict, seen[0].verdict);
        EXPECT_EQ(one.recomputed, 1);
        EXPECT_EQ(one.after, one.before) << "the weights are as they were";
      }
    }
  }
  std::printf("candor-figure R13 injected=%d cases published=0 bound=0\n", cases);
}

TEST(BadNumbers, WhatPassesIsHealedByComputingAgain) {
  for (Sharding sharding : {Sharding::kNone, Sharding::kZero2, Sharding::kZero3}) {
    const auto clean = Step(sharding, "stop", {});
    EXPECT_NE(clean[0].after, clean[0].before);  // the control
    for (bool loss : {true, false}) {
      const auto seen = Step(sharding, "stop", [&](int pass, ShardedPolicy& policy, ReportSums& sums) {
        if (pass == 1) loss ? kLoss(pass, policy, sums) : kGradient(pass, policy, sums);
      });
      for (const Seen& one : seen) {
        EXPECT_EQ(one.verdict, "");
        EXPECT_EQ(one.recomputed, 1);
        EXPECT_EQ(one.after, clean[0].after) << "bit-equal to a step that nothing disturbed";
      }
    }
  }
}

TEST(BadNumbers, TheRecipeMayStopTheRun) {
  const auto seen = Step(Sharding::kZero3, "stop", kLoss);
  for (const Seen& one : seen) {
    EXPECT_TRUE(one.failed);
    EXPECT_EQ(one.code, ErrorCode::kInvalidInput);
    EXPECT_EQ(one.verdict, seen[0].verdict);
    EXPECT_NE(one.verdict.find("step 1: the loss is not finite on rank 1"), std::string::npos) << one.verdict;
    EXPECT_EQ(one.after, one.before);
  }
}

// Weights cannot be skipped: the learner must start again from its checkpoint, and publishes nothing before.
TEST(BadNumbers, WeightsThatAreNotFiniteEndThisLife) {
  for (Sharding sharding : {Sharding::kNone, Sharding::kZero2, Sharding::kZero3}) {
    const auto seen =
        Step(sharding, "skip", [](int, ShardedPolicy& policy, ReportSums&) { policy.state(1).master.data_ptr<float>()[5] = kNan; });
    for (const Seen& one : seen) {
      EXPECT_TRUE(one.failed);
      EXPECT_EQ(one.code, ErrorCode::kCollective) << "restart me";
      EXPECT_EQ(one.verdict, seen[0].verdict);
      EXPECT_NE(one.verdict.find("are not finite on rank 1"), std::string::npos) << one.verdict;
    }
  }
}

// Such a trace counts as one whose reward is not known.
TEST(BadNumbers, ARewardThatIsNoNumberNeverTrains) {
  for (double value : {static_cast<double>(kNan), static_cast<double>(kInf)}) {
    const auto seen = Step(Sharding::kZero2, "stop", {}, [&](ScoredGroup& group) { group.traces_G[1].channels["accuracy"] = value; });
    const auto unknown = Step(Sharding::kZero2, "stop", {}, [&](ScoredGroup& group) { group.traces_G[1].channels.clear(); });
    for (size_t rank = 0; rank < 2; ++rank) {
      EXPECT_EQ(seen[rank].verdict, "");
      EXPECT_EQ(seen[rank].after, unknown[rank].after);
      EXPECT_TRUE(std::all_of(seen[rank].after.begin(), seen[rank].after.end(), [](float x) { return std::isfinite(x); }));
    }
  }
}

}  // namespace
}  // namespace candor
