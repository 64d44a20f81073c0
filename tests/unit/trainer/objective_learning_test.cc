// Every loss form, the distance from a reference and preferences through the learner's real step, on a tiny policy.
#include "tiny.h"
#include "trainer/rl_step.h"

namespace candor {
namespace {

using tiny::OnRanks;

struct Recipe {
  TrainerOptions trainer;
  ObjectiveOptions objective;
};

Recipe Base() {
  Recipe r;
  r.trainer.schedule.lr = 1e-2, r.trainer.adam.weight_decay = 0, r.trainer.steps = 5;
  r.objective.segment = "answer";
  return r;
}

struct Outcome {
  double right = 0, wrong = 0;  // how far the log-probabilities of trace 0 (right) and trace 1 (wrong) moved
  std::map<std::string, double> metrics;
  std::vector<float> weights;
};

double LogProb(ShardedPolicy& policy, const ScoredGroup& group, size_t trace) {
  Parameters now(tiny::Config(), at::kFloat);
  std::vector<float> all = tiny::Weights(policy);
  size_t at = 0;
  for (size_t u = 0; u < policy.units().size(); ++u)
    for (int64_t i = 0; i < policy.units()[u].Count(); ++i) now.Flat(u).data_ptr<float>()[i] = all[at++];
  PackedGroups packed;
  EXPECT_TRUE(packed.Add(group.prompt_tokens_P, {group.traces_G[trace].trace.tokens_T}));
  return ScoreTokens(tiny::Config(), now, {DType::kFp32, true}, packed).value().log_probs_M.narrow(0, 0, 3).sum().item<double>();
}

// What the rollout would have recorded.
void Record(ScoredGroup& group, const Parameters& parameters) {
  for (ScoredTrace& scored : group.traces_G) {
    PackedGroups packed;
    EXPECT_TRUE(packed.Add(group.prompt_tokens_P, {scored.trace.tokens_T}));
    const TokenScores scores = ScoreTokens(tiny::Config(), parameters, {DType::kFp32, true}, packed).value();
    for (size_t t = 0; t < scored.trace.tokens_T.size(); ++t)
      scored.trace.log_probs_T[t] = scores.log_probs_M[static_cast<int64_t>(t)].item<float>();
  }
}

Outcome Learn(const Recipe& r, int ranks = 1, Sharding sharding = Sharding::kNone, int groups = 1) {
  return OnRanks<Outcome>(ranks, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {sharding, DType::kFp32, false}, collective);
    const Parameters start = RandomParameters(tiny::Config(), 1, at::kFloat, 0.1);
    policy.LoadParametersFrom(start);
    RlSettings settings = CheckRlSettings(r.trainer, {r.objective}, std::nullopt, true).value();
    RlStepper stepper(settings, policy, settings.NeedsReference() ? &start : nullptr);
    std::vector<ScoredGroup> all, mine;
    for (int i = 0; i < groups; ++i) {
      all.push_back(tiny::Group(1, static_cast<uint32_t>(i)));
      Record(all.back(), start);
      for (size_t t = 0; t < all.back().traces_G.size(); ++t) all.back().traces_G[t].channels["sure"] = t == 0 ? .9 : t == 1 ? .1 : .5;
      if (i % collective.size() == collective.rank()) mine.push_back(all.back());
    }
    Outcome out;
    out.right = -LogProb(policy, all[0], 0), out.wrong = -LogProb(policy, all[0], 1);
    for (int step = 1; step <= 5; ++step) {
      auto result = stepper.Run(step, mine);
      EXPECT_TRUE(result) << result.error().Message();
      EXPECT_FALSE(result->skipped) << result->why;
      out.metrics = result->metrics;
    }
    out.right += LogProb(policy, all[0], 0), out.wrong += LogProb(policy, all[0], 1);
    out.weights = tiny::Weights(policy);
    return out;
  })[0];
}

TEST(Objectives, EveryLossRaisesWhatWasRight) {
  for (const char* loss : {"cispo", "ppo_clip", "dr_grpo", "rloo", "gspo", "sapo", "decoupled_ppo", "clip_cov", "kl_cov"}) {
    Recipe r = Base();
    r.trainer.loss = loss;
    r.trainer.clip_low = r.trainer.clip_high = 1.0;  // steps on the same old data: a narrow clip would end the lesson after one
    if (r.trainer.loss == "decoupled_ppo") r.trainer.old_policy = "interpolated";
    const Outcome out = Learn(r);
    EXPECT_GT(out.right, 0.05) << loss;
    EXPECT_LT(out.wrong, -0.05) << loss;
    EXPECT_TRUE(std::isfinite(out.metrics.at("covariance/advantage_log_prob")));
  }
}

TEST(Objectives, EveryAdvantageMovesItsOwnTraces) {
  for (const char* advantage : {"group_mean", "batch_std", "pass_at_k", "weighted_reinforce", "positive_only", "negative_only"}) {
    Recipe r = Base();
    r.objective.advantage = advantage, r.objective.pass_k = 2;
    const Outcome out = Learn(r);
    if (std::string(advantage) != "negative_only") {
      EXPECT_GT(out.right, 0.05) << advantage;
    }
    if (std::string(advantage) != "positive_only") {
      EXPECT_LT(out.wrong, -0.05) << advantage;
    }
  }
}

TEST(Objectives, ANarrowClipEndsTheLesson) {
  Recipe r = Base();
  r.trainer.loss = "gspo", r.trainer.clip_low = 3e-4, r.trainer.clip_high = 4e-4;
  const Outcome out = Learn(r);
  EXPECT_GT(out.metrics.at("clip/fraction"), 0.9);
  r.trainer.clip_low = r.trainer.clip_high = 1.0;
  EXPECT_EQ(Learn(r).metrics.at("clip/fraction"), 0.0);
}

TEST(Objectives, ADistanceHoldsThePolicyNearItsStart) {
  for (const char* estimator : {"k1", "k2", "k3"}) {
    Recipe r = Base();
    const Outcome free = Learn(r);
    r.trainer.correction.kl_weight = 20, r.trainer.correction.kl_estimator = estimator;
    const Outcome held = Learn(r);
    EXPECT_LT(held.right, 0.5 * free.right) << estimator;
    EXPECT_EQ(free.metrics.count("kl/reference/mean"), 0u);
    EXPECT_TRUE(std::isfinite(held.metrics.at("kl/reference/mean")));
    r.trainer.correction.kl_weight = 1e-9;
    EXPECT_NEAR(Learn(r).right, free.right, 1e-3) << estimator;
  }
}

TEST(Objectives, APreferenceRaisesTheChosenOverTheRejected) {
  Recipe r = Base();
  r.objective.loss = "preference", r.objective.channel = "sure", r.objective.preference_beta = 1;
  const Outcome out = Learn(r);
  EXPECT_GT(out.right, 0.05);
  EXPECT_LT(out.wrong, -0.05);
  EXPECT_EQ(out.metrics.at("preference/pairs"), 1.0);
  EXPECT_GT(out.metrics.at("preference/margin/mean"), 0.1);
  EXPECT_LT(out.metrics.at("loss/preference"), std::log(2.0));
  r.objective.channel = "-1*sure";  // the control: the other way round
  EXPECT_LT(Learn(r).right, -0.05);
}

TEST(Objectives, PreferencesAndDistancesAreTheSameOnAnyNumberOfRanks) {
  Recipe pairs = Base();
  pairs.objective.loss = "preference", pairs.objective.channel = "sure";
  Recipe distance = Base();
  distance.trainer.correction.kl_weight = 1;
  Recipe whitened = Base();
  whitened.trainer.correction.whiten = "tokens", whitened.objective.advantage = "group_std";
  for (Recipe r : {pairs, distance, whitened}) {
    const Outcome one = Learn(r, 1, Sharding::kNone, 4);
    r.trainer.tokens_per_microbatch = 16;  // pairs stay together in a micro-batch that is too small for them
    const Outcome two = Learn(r, 2, Sharding::kZero3, 4);
    EXPECT_LT(tiny::RelativeDistance(one.weights, two.weights), 1e-5);
    r.trainer.schedule.lr = 2e-2;  // the control
    EXPECT_GT(tiny::RelativeDistance(one.weights, Learn(r, 1, Sharding::kNone, 4).weights), 1e-4);
  }
}

TEST(Objectives, AWeightThatRampsToZeroTeachesLess) {
  Recipe r = Base();
  const Outcome constant = Learn(r);
  EXPECT_EQ(constant.metrics.at("objective/1/weight"), 1.0);
  r.objective.weight_schedule = "ramp", r.objective.weight_to = 0.0;
  const Outcome ramp = Learn(r);  // 5 steps: 1, 3/4, 1/2, 1/4, 0
  EXPECT_EQ(ramp.metrics.at("objective/1/weight"), 0.0);
  EXPECT_NE(ramp.weights, constant.weights);
  r.objective.weight_to = 1.0;  // the control: a ramp from 1 to 1 is the constant
  EXPECT_EQ(Learn(r).weights, constant.weights);
}

TEST(Objectives, AMatchedWeightUndoesTheScaleOfAChannelOnAnyNumberOfRanks) {
  Recipe r = Base();
  r.objective.channel = "sure";
  r.objective.weight_schedule = "match_std", r.objective.weight = 0.5, r.objective.weight_max = 1e3;
  const Outcome plain = Learn(r, 1, Sharding::kNone, 4);
  EXPECT_NEAR(plain.metrics.at("objective/1/weight") * plain.metrics.at("objective/1/std"), 0.5 * 0.53, 0.03);  // of labels half right
  r.objective.channel = "0.125*sure";
  const Outcome scaled = Learn(r, 1, Sharding::kNone, 4);
  EXPECT_NEAR(scaled.metrics.at("objective/1/weight"), 8 * plain.metrics.at("objective/1/weight"), 1e-9);
  EXPECT_LT(tiny::RelativeDistance(plain.weights, scaled.weights), 1e-6);
  EXPECT_LT(tiny::RelativeDistance(plain.weights, Learn(r, 2, Sharding::kZero3, 4).weights), 1e-5);
  r.objective.weight_max = 1.0;  // the control: held down
  EXPECT_GT(tiny::RelativeDistance(plain.weights, Learn(r, 1, Sharding::kNone, 4).weights), 1e-4);
}

TEST(Objectives, FarDataIsRejected) {
  Recipe r = Base();
  r.trainer.correction.reject = "geometric", r.trainer.correction.reject_low = .999, r.trainer.correction.reject_high = 1.001;
  const Outcome out = Learn(r);
  EXPECT_GT(out.metrics.at("reject/fraction"), 0.5);  // after a step, the data are another policy's
  r.trainer.correction.reject = "none", r.trainer.correction.reject_low = 0;
  EXPECT_EQ(Learn(r).metrics.at("reject/fraction"), 0.0);
}

}  // namespace
}  // namespace candor
