// Elastic resume (R4): training goes on from a checkpoint at another number of ranks with the same losses.
#include <cmath>

#include "tiny.h"
#include "trainer/checkpoint.h"
#include "trainer/rl_step.h"

namespace candor {
namespace {

using tiny::OnRanks;

constexpr int kGroups = 12;  // of a step; a multiple of every number of ranks

RlSettings ElasticSettings() {
  TrainerOptions options;
  options.schedule.lr = 1e-3, options.tokens_per_microbatch = 128, options.steps = 30;
  ObjectiveOptions answer;
  answer.segment = "answer";
  return CheckRlSettings(options, {answer}, std::nullopt, true).value();
}

std::vector<double> Learn(ShardedPolicy& policy, int from, int to) {
  RlStepper stepper(ElasticSettings(), policy);
  std::vector<double> losses;
  for (int step = from; step <= to; ++step) {
    std::vector<ScoredGroup> mine;
    for (int i = 0; i < kGroups; ++i)
      if (i % policy.collective().size() == policy.collective().rank())
        mine.push_back(tiny::Group(static_cast<uint64_t>(step), static_cast<uint32_t>(i), 2, 5));
    const auto result = stepper.Run(step, mine);
    EXPECT_TRUE(result) << result.error().Message();
    losses.push_back(result->metrics.at("loss/all"));
  }
  return losses;
}

std::vector<double> Resume(const std::string& folder, int ranks, Sharding sharding) {
  return OnRanks<std::vector<double>>(ranks, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {sharding, DType::kFp32, true}, collective);
    EXPECT_TRUE(LoadNewestCheckpoint(policy, folder));
    return Learn(policy, 4, 23);
  })[0];
}

TEST(Elastic, TwentyStepsAfterAResumeLoseWhatTheyWouldHaveLost) {
  double worst = 0.0;
  int pairs = 0;
  for (int ranks : {1, 2, 3, 4, 6}) {
    tiny::Folder folder;
    const Sharding sharding = ranks == 1 ? Sharding::kNone : ranks % 2 == 0 ? Sharding::kZero3 : Sharding::kZero2;
    const std::vector<double> straight = OnRanks<std::vector<double>>(ranks, [&](Collective& collective) {
      ShardedPolicy policy(tiny::Config(), {sharding, DType::kFp32, true}, collective);
      policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
      Learn(policy, 1, 3);
      EXPECT_TRUE(WriteCheckpoint(policy, folder.path(), 3, 2));
      return Learn(policy, 4, 23);
    })[0];
    ASSERT_EQ(straight.size(), 20u);
    for (int other : {1, 2, 3, 4, 6}) {
      const std::vector<double> resumed = Resume(folder.path(), other, other == 1 ? Sharding::kNone : Sharding::kZero2);
      double scale = 0.0, apart = 0.0;
      for (size_t i = 0; i < 20; ++i)
        scale = std::max(scale, std::abs(straight[i])), apart = std::max(apart, std::abs(straight[i] - resumed[i]));
      EXPECT_LT(apart, 1e-6 * scale) << ranks << " to " << other;
      if (other == ranks && sharding == (other == 1 ? Sharding::kNone : Sharding::kZero2)) {
        EXPECT_EQ(straight, resumed) << "bit-equal";
      }
      worst = std::max(worst, apart / scale);
      ++pairs;
    }
  }
  std::printf("candor-figure R4 loss_20_steps=%.2e relative pairs=%d bound=1e-6\n", worst, pairs);
}

}  // namespace
}  // namespace candor
