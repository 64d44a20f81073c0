// Learning on a tiny policy: any sharding at any number of ranks learns the same; a step that is not finite is skipped everywhere;
// supervised loss falls; the slot finds its label.
#include "tiny.h"
#include "trainer/rl_step.h"
#include "trainer/sft.h"

namespace candor {
namespace {

using tiny::OnRanks;

RlSettings LearningSettings(double lr = 3e-3, int64_t budget = 64) {
  TrainerOptions options;
  options.schedule.lr = lr, options.adam.weight_decay = 0.01, options.tokens_per_microbatch = budget, options.steps = 5;
  ObjectiveOptions answer, slot;
  answer.segment = "answer";
  slot.segment = "slot", slot.loss = "squared_error", slot.weight = 0.5;
  return CheckRlSettings(options, {answer, slot}, SlotTokens{tiny::kHigh, tiny::kLow}, true).value();
}

struct Learned {
  std::vector<float> weights;
  std::map<std::string, double> metrics;
  MemoryUse memory;
  bool skipped = false;
  std::string why;
};

// Five steps of six groups; group i of a step goes to rank i % ranks.
Learned Learn(Collective& collective, Sharding sharding, DType dtype, RlSettings settings, int steps = 5) {
  ShardedPolicy policy(tiny::Config(), {sharding, dtype, false}, collective);
  policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
  settings.deterministic = dtype == DType::kFp32;
  RlStepper stepper(settings, policy);
  Learned learned;
  for (int step = 1; step <= steps; ++step) {
    std::vector<ScoredGroup> mine;
    for (uint32_t i = 0; i < 6; ++i)
      if (static_cast<int>(i) % collective.size() == collective.rank()) mine.push_back(tiny::Group(static_cast<uint64_t>(step), i));
    if (step == 2 && !mine.empty()) mine[0].drop = DropReason::kNoVariance;
    auto result = stepper.Run(step, mine);
    EXPECT_TRUE(result) << result.error().Message();
    learned.metrics = result->metrics, learned.skipped = result->skipped, learned.why = result->why;
  }
  learned.weights = tiny::Weights(policy);
  learned.memory = policy.memory();
  return learned;
}

// Group 0 of step 2 is filtered on rank 0 only when it is rank 0's first group, which it is at any number of ranks; at 4 ranks other ranks
// filter their first as well.
Learned Reference(int ranks, DType dtype) {
  return OnRanks<Learned>(1, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {Sharding::kNone, dtype, false}, collective);
    policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
    RlSettings settings = LearningSettings();
    settings.deterministic = dtype == DType::kFp32;
    RlStepper stepper(settings, policy);
    Learned learned;
    for (int step = 1; step <= 5; ++step) {
      std::vector<ScoredGroup> groups;
      for (uint32_t i = 0; i < 6; ++i) {
        groups.push_back(tiny::Group(static_cast<uint64_t>(step), i));
        if (step == 2 && static_cast<int>(i) < ranks) groups.back().drop = DropReason::kNoVariance;
      }
      EXPECT_TRUE(stepper.Run(step, groups));
    }
    learned.weights = tiny::Weights(policy);
    return learned;
  })[0];
}

TEST(Sharding, EveryModeLearnsWhatOneRankLearns) {
  std::vector<float> start =
      OnRanks<Learned>(1, [](Collective& c) { return Learn(c, Sharding::kNone, DType::kFp32, LearningSettings(), 0); })[0].weights;
  for (int ranks : {2, 4}) {
    std::vector<float> want = Reference(ranks, DType::kFp32).weights;
    EXPECT_GT(tiny::RelativeDistance(want, start), 1e-2);  // the control: five steps do change the weights
    for (Sharding sharding : {Sharding::kNone, Sharding::kZero2, Sharding::kZero3}) {
      auto learned = OnRanks<Learned>(ranks, [&](Collective& c) { return Learn(c, sharding, DType::kFp32, LearningSettings()); });
      for (const Learned& one : learned) {
        EXPECT_LT(tiny::RelativeDistance(one.weights, want), 1e-6) << Name(sharding) << " at " << ranks;
        EXPECT_EQ(one.weights, learned[0].weights) << "ranks hold the same weights";
      }
    }
  }
}

TEST(Sharding, Bf16AgreesWithinItsTolerance) {
  std::vector<float> want = Reference(2, DType::kBf16).weights;
  for (Sharding sharding : {Sharding::kZero2, Sharding::kZero3}) {
    auto learned = OnRanks<Learned>(2, [&](Collective& c) { return Learn(c, sharding, DType::kBf16, LearningSettings()); });
    EXPECT_LT(tiny::RelativeDistance(learned[0].weights, want), 5e-5) << Name(sharding);
  }
}

TEST(Sharding, RecomputeAndMicroBatchesChangeNothing) {
  auto one = [](RlSettings settings) {
    return OnRanks<Learned>(1, [&](Collective& c) { return Learn(c, Sharding::kNone, DType::kFp32, settings); })[0].weights;
  };
  std::vector<float> want = one(LearningSettings());
  RlSettings recompute = LearningSettings();
  recompute.recompute = true;
  EXPECT_LT(tiny::RelativeDistance(one(recompute), want), 1e-7);
  EXPECT_LT(tiny::RelativeDistance(one(LearningSettings(3e-3, 4096)), want), 1e-6);  // one micro-batch instead of several
  EXPECT_GT(tiny::RelativeDistance(one(LearningSettings(6e-3)), want), 1e-4);        // the control: another rate is another result
}

TEST(CommonBeginning, IsComputedOncePerMicroBatchAndTeachesTheSame) {
  const auto learn = [](int64_t budget, int32_t last) {
    return OnRanks<std::vector<float>>(1, [&](Collective& collective) {
      ShardedPolicy policy(tiny::Config(), {Sharding::kNone, DType::kFp32, false}, collective);
      policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
      RlStepper stepper(LearningSettings(3e-3, budget), policy);
      for (int step = 1; step <= 3; ++step) {
        std::vector<ScoredGroup> groups;
        for (uint32_t i = 0; i < 6; ++i) {
          groups.push_back(tiny::Group(static_cast<uint64_t>(step), i));
          std::vector<int32_t> begin(20, 5);
          begin.back() = last;
          groups.back().prompt_tokens_P.insert(groups.back().prompt_tokens_P.begin(), begin.begin(), begin.end());
        }
        EXPECT_TRUE(stepper.Run(step, groups));
      }
      return tiny::Weights(policy);
    })[0];
  };
  const std::vector<float> alone = learn(16, 6);  // a group in each micro-batch, or a part of one: nothing is shared
  EXPECT_LT(tiny::RelativeDistance(learn(4096, 6), alone), 1e-6);
  EXPECT_GT(tiny::RelativeDistance(learn(4096, 7), alone), 1e-4) << "the control: another beginning teaches other weights";
}

TEST(Sharding, Zero3HoldsAtMostTwoUnitsAndItsShare) {
  auto learned = OnRanks<Learned>(4, [&](Collective& c) { return Learn(c, Sharding::kZero3, DType::kFp32, LearningSettings()); });
  auto whole = OnRanks<Learned>(1, [&](Collective& c) { return Learn(c, Sharding::kNone, DType::kFp32, LearningSettings()); });
  int64_t largest = 0, second = 0;
  for (const UnitSpec& unit : PlanUnits(tiny::Config())) {
    if (unit.Count() > largest)
      second = largest, largest = unit.Count();
    else
      second = std::max(second, unit.Count());
  }
  for (const Learned& one : learned) {
    EXPECT_LE(one.memory.gathered_units_peak, 2);
    EXPECT_GE(one.memory.gathered_units_peak, 1);
    // 4 bytes per element; shares are padded to 16 elements per unit.
    EXPECT_LE(one.memory.Peak(), static_cast<int64_t>(1.15 * static_cast<double>(whole[0].memory.owned_bytes) / 4) +
                                     4 * (largest + second + largest) + 4 * 64 * 10);
    EXPECT_LT(one.memory.owned_bytes, whole[0].memory.owned_bytes / 3);
  }
}

TEST(Learning, ARankWithoutGroupsKeepsInStep) {
  auto learned = OnRanks<Learned>(4, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {Sharding::kZero3, DType::kFp32, false}, collective);
    policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
    RlStepper stepper(LearningSettings(), policy);
    std::vector<ScoredGroup> mine;
    if (collective.rank() == 2) mine = {tiny::Group(1, 0), tiny::Group(1, 1), tiny::Group(1, 2)};
    auto result = stepper.Run(1, mine);
    EXPECT_TRUE(result) << result.error().Message();
    return Learned{tiny::Weights(policy), result->metrics, {}, false, ""};
  });
  EXPECT_EQ(learned[0].weights, learned[3].weights);
  EXPECT_EQ(learned[0].metrics.at("groups/planned"), 3.0);
  EXPECT_GT(learned[0].metrics.at("optim/grad_norm"), 0.0);
}

TEST(Learning, NanOnOneRankSkipsTheStepOnAll) {
  for (Sharding sharding : {Sharding::kNone, Sharding::kZero2, Sharding::kZero3}) {
    auto learned = OnRanks<Learned>(2, [&](Collective& collective) {
      ShardedPolicy policy(tiny::Config(), {sharding, DType::kFp32, true}, collective);
      policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
      std::vector<float> before = tiny::Weights(policy);
      RlStepper stepper(LearningSettings(), policy);
      std::vector<ScoredGroup> mine{tiny::Group(1, static_cast<uint32_t>(collective.rank()))};
      if (collective.rank() == 1) mine[0].traces_G[0].trace.log_probs_T[0] = std::nanf("");
      auto result = stepper.Run(1, mine);
      EXPECT_TRUE(result) << result.error().Message();
      EXPECT_EQ(tiny::Weights(policy), before);
      EXPECT_EQ(policy.updates(), 0);
      Learned out{{}, result->metrics, {}, result->skipped, result->why};
      mine[0].traces_G[0].trace.log_probs_T[0] = -4.2f;
      auto next = stepper.Run(2, mine);  // the next step is unharmed
      EXPECT_FALSE(next->skipped) << next->why;
      EXPECT_NE(tiny::Weights(policy), before);
      return out;
    });
    for (const Learned& one : learned) {
      EXPECT_TRUE(one.skipped);
      EXPECT_NE(one.why.find("rank 1"), std::string::npos) << one.why;
      for (const auto& [name, value] : one.metrics) EXPECT_TRUE(std::isfinite(value)) << name;
    }
  }
}

TEST(Learning, TheFirstRatioIsOneWhenTheRolloutIsTheLearner) {
  OnRanks<int>(1, [](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {Sharding::kNone, DType::kFp32, false}, collective);
    Parameters parameters = RandomParameters(tiny::Config(), 1, at::kFloat, 0.1);
    policy.LoadParametersFrom(parameters);
    std::vector<ScoredGroup> groups{tiny::Group(1, 0), tiny::Group(1, 1)};
    for (ScoredGroup& group : groups) {  // the recorded log-probabilities come from the same numbers, one trace at a time
      for (ScoredTrace& scored : group.traces_G) {
        PackedGroups packed;
        EXPECT_TRUE(packed.Add(group.prompt_tokens_P, {scored.trace.tokens_T}));
        TokenScores scores = ScoreTokens(tiny::Config(), parameters, {DType::kFp32, true}, packed).value();
        for (size_t t = 0; t < scored.trace.tokens_T.size(); ++t)
          scored.trace.log_probs_T[t] = scores.log_probs_M[static_cast<int64_t>(t)].item<float>();
      }
    }
    auto result = RlStepper(LearningSettings(), policy).Run(1, groups);
    EXPECT_EQ(result->metrics.at("mismatch/abs/max"), 0.0);
    EXPECT_EQ(result->metrics.at("mismatch/same_version/abs/max"), 0.0);
    EXPECT_EQ(result->metrics.at("ratio/max"), 1.0);
    EXPECT_EQ(result->metrics.at("ratio/mean"), 1.0);
    groups[0].traces_G[0].trace.log_probs_T[1] += 0.01f;  // the control
    EXPECT_GT(RlStepper(LearningSettings(), policy).Run(2, groups)->metrics.at("mismatch/abs/max"), 0.005);
    return 0;
  });
}

TEST(Learning, PolicyGradientRaisesWhatWasRight) {
  OnRanks<int>(1, [](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {Sharding::kNone, DType::kFp32, false}, collective);
    policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
    RlStepper stepper(LearningSettings(1e-2), policy);
    ScoredGroup group = tiny::Group(1, 0);
    auto log_prob = [&](size_t trace) {
      Parameters now(tiny::Config(), at::kFloat);
      for (size_t u = 0; u < policy.units().size(); ++u) now.Flat(u).copy_(policy.state(u).master.narrow(0, 0, policy.units()[u].Count()));
      PackedGroups packed;
      EXPECT_TRUE(packed.Add(group.prompt_tokens_P, {group.traces_G[trace].trace.tokens_T}));
      return ScoreTokens(tiny::Config(), now, {DType::kFp32, false}, packed).value().log_probs_M.narrow(0, 0, 3).sum().item<double>();
    };
    double right = log_prob(0), wrong = log_prob(1);
    for (int step = 1; step <= 5; ++step) EXPECT_TRUE(stepper.Run(step, {group}));
    EXPECT_GT(log_prob(0), right + 0.1);
    EXPECT_LT(log_prob(1), wrong - 0.1);
    return 0;
  });
}

SftExample Example(uint64_t seed, std::optional<float> label) {
  SftExample example;
  example.prompt_P = tiny::Tokens(6, seed);
  example.completion_T = tiny::Tokens(5, seed, 1);
  example.completion_T.push_back(tiny::kHigh);
  example.weights_T.assign(6, 1.0f);
  if (label) example.weights_T[5] = 0.0f, example.anchor = 0.1;
  example.label = label;
  return example;
}

TEST(Supervised, LossFallsAndShardsAgree) {
  auto run = [](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {collective.size() > 1 ? Sharding::kZero3 : Sharding::kNone, DType::kFp32, false}, collective);
    policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
    SftOptions options;
    options.schedule.lr = 1e-2, options.tokens_per_microbatch = 30;
    std::vector<SftExample> examples;
    for (uint64_t i = 0; i < 7; ++i) examples.push_back(Example(i, std::nullopt));
    std::vector<const SftExample*> rows;
    for (const SftExample& example : examples) rows.push_back(&example);
    SftStepper stepper(options, 20, std::nullopt, true, policy);
    std::vector<float> losses;
    for (int step = 1; step <= 20; ++step) losses.push_back(static_cast<float>(stepper.Run(step, rows).value().loss));
    return losses;
  };
  std::vector<float> one = OnRanks<std::vector<float>>(1, run)[0], two = OnRanks<std::vector<float>>(2, run)[1];
  EXPECT_NEAR(one.front(), std::log(67.0), 0.5);
  EXPECT_LT(one.back(), 0.5 * one.front());
  for (size_t i = 0; i < one.size(); ++i) EXPECT_NEAR(one[i], two[i], 1e-3);
}

// Prompts alike in nothing but their label mean: one prompt is right in 3 of 4 rows, the other in 1 of 4.
TEST(Supervised, TheSlotGoesToTheLabelMeanOfItsPrompt) {
  for (const char* loss : {"squared_error", "cross_entropy"})
    OnRanks<int>(1, [&](Collective& collective) {
      ShardedPolicy policy(tiny::Config(), {Sharding::kNone, DType::kFp32, false}, collective);
      policy.LoadParametersFrom(RandomParameters(tiny::Config(), 1, at::kFloat, 0.1));
      SftOptions options;
      options.schedule.lr = 5e-3, options.slot_loss = loss;
      std::vector<SftExample> examples;
      for (uint64_t prompt : {0, 1})
        for (int i = 0; i < 4; ++i) examples.push_back(Example(prompt, prompt == 0 ? (i < 3 ? 1.0f : 0.0f) : (i < 1 ? 1.0f : 0.0f)));
      std::vector<const SftExample*> rows;
      for (const SftExample& example : examples) rows.push_back(&example);
      SftStepper stepper(options, 150, SlotTokens{tiny::kHigh, tiny::kLow}, true, policy);
      for (int step = 1; step <= 150; ++step) EXPECT_TRUE(stepper.Run(step, rows));
      std::vector<const SftExample*> high(rows.begin(), rows.begin() + 4), low(rows.begin() + 4, rows.end());
      EXPECT_NEAR(stepper.Run(1, high).value().slot_confidence, 0.75, 0.03) << loss;
      EXPECT_NEAR(stepper.Run(1, low).value().slot_confidence, 0.25, 0.05) << loss;
      return 0;
    });
}

TEST(Supervised, StepsFollowEpochs) {
  SftOptions options;
  options.epochs = 3, options.rows_per_step = 16;
  EXPECT_EQ(SftSteps(options, 33), 9);
  options.steps = 4;
  EXPECT_EQ(SftSteps(options, 33), 4);
}

}  // namespace
}  // namespace candor
