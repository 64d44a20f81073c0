// The engine on a random two-layer model: the paged, batched result equals the learner's full forward; it does not depend on the batch;
// pages return; bad requests are refused.
#include "rollout/engine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "rollout/engine_impl.h"
#include "rollout/scorer.h"
#include "rollout/signals.h"
#include "tests/unit/rollout/engine_fixture.h"

namespace candor {
namespace {

class EveryFamily : public testing::TestWithParam<Family> {};
INSTANTIATE_TEST_SUITE_P(Families, EveryFamily, testing::Values(Family::kLlama, Family::kQwen2, Family::kQwen3));

TEST_P(EveryFamily, DeterministicModeEqualsTheLearnerBitForBit) {
  const ModelConfig config = TinyConfig(GetParam());
  const Parameters parameters = TinyParameters(config);
  auto engine = TinyEngine(TinyEngineOptions(true), config, parameters);
  const auto groups = RunAll(*engine, {Request(1, 37, 4, 20, 1), Request(2, 16, 3, 33), Request(3, 90, 2, 9), Request(4, 1, 2, 5)});
  ASSERT_EQ(groups.size(), 4u);
  for (const auto& [id, group] : groups) {
    const TokenScores scores = LearnerScores(config, parameters, true, group);
    const float* learner = scores.log_probs_M.const_data_ptr<float>();
    const float* entropy = scores.entropy_M.const_data_ptr<float>();
    for (const Trace& trace : group.traces_G)
      for (size_t t = 0; t < trace.tokens_T.size(); ++t, ++learner, ++entropy) {
        ASSERT_EQ(trace.log_probs_T[t], *learner) << "group " << id << " trace " << trace.index << " token " << t;
        ASSERT_EQ(trace.entropy_T[t], *entropy);
        ASSERT_EQ(trace.version_T[t], 1u);
      }
  }
}

TEST_P(EveryFamily, PagedCacheEqualsFullRecompute) {
  const ModelConfig config = TinyConfig(GetParam());
  const Parameters parameters = TinyParameters(config);
  auto engine = TinyEngine(TinyEngineOptions(false), config, parameters);
  const auto groups = RunAll(*engine, {Request(7, 50, 5, 40)});
  const TokenScores scores = LearnerScores(config, parameters, false, groups.at(7));
  const float* learner = scores.log_probs_M.const_data_ptr<float>();
  for (const Trace& trace : groups.at(7).traces_G)
    for (size_t t = 0; t < trace.tokens_T.size(); ++t, ++learner) EXPECT_NEAR(trace.log_probs_T[t], *learner, 2e-4);
}

// Negative control of the two above: other weights give other numbers.
TEST(Engine, AnotherPolicyIsNoticed) {
  const ModelConfig config = TinyConfig();
  auto engine = TinyEngine(TinyEngineOptions(true), config, TinyParameters(config, 3));
  const auto groups = RunAll(*engine, {Request(1, 20, 1, 10)});
  const TokenScores scores = LearnerScores(config, TinyParameters(config, 4), true, groups.at(1));
  EXPECT_NE(groups.at(1).traces_G[0].log_probs_T[0], scores.log_probs_M.const_data_ptr<float>()[0]);
}

TEST(Engine, ResultsDoNotDependOnTheBatch) {
  const ModelConfig config = TinyConfig();
  const Parameters parameters = TinyParameters(config);
  auto crowded = TinyEngine(TinyEngineOptions(true), config, parameters);
  std::vector<EngineRequest> requests;
  for (uint64_t id = 1; id <= 9; ++id)
    requests.push_back(Request(id, 5 + 7 * static_cast<int64_t>(id), 3, 10 + static_cast<int64_t>(id), 1));
  const auto together = RunAll(*crowded, std::move(requests));
  EXPECT_GT(crowded->stats().running_max, 4);
  EngineOptions other = TinyEngineOptions(true);
  other.max_batch = 1, other.prefill_tokens = 16, other.page_tokens = 32;
  for (uint64_t id : {9, 2, 5}) {
    auto alone = TinyEngine(other, config, parameters);
    const auto single = RunAll(*alone, {Request(id, 5 + 7 * static_cast<int64_t>(id), 3, 10 + static_cast<int64_t>(id), 1)});
    for (size_t i = 0; i < 4; ++i) {
      const Trace &a = single.at(id).traces_G[i], &b = together.at(id).traces_G[i];
      EXPECT_EQ(a.tokens_T, b.tokens_T) << "group " << id << " trace " << i;
      EXPECT_EQ(a.log_probs_T, b.log_probs_T);
      EXPECT_EQ(a.signals, b.signals);
    }
  }
}

TEST(Engine, SampledTracesDifferAndGreedyIsArgmax) {
  const ModelConfig config = TinyConfig();
  const Parameters parameters = TinyParameters(config);
  auto engine = TinyEngine(TinyEngineOptions(true), config, parameters);
  auto zero = Request(2, 12, 1, 15);
  zero.prompt_tokens_P = RandomPrompt(1, 12);
  zero.sampling.temperature = 0.0;
  const auto groups = RunAll(*engine, {Request(1, 12, 3, 15, 1), zero});
  const TraceGroup& group = groups.at(1);
  EXPECT_NE(group.traces_G[0].tokens_T, group.traces_G[1].tokens_T);
  EXPECT_FALSE(group.traces_G[2].greedy);
  EXPECT_TRUE(group.traces_G[3].greedy);
  EXPECT_EQ(group.traces_G[3].tokens_T, groups.at(2).traces_G[0].tokens_T);
  for (const Trace& trace : group.traces_G) {
    EXPECT_EQ(trace.tokens_T.size(), 15u);
    double sum = 0;
    for (float lp : trace.log_probs_T) sum += static_cast<double>(lp);
    EXPECT_NEAR(trace.signals.at("mean_log_prob"), sum / 15, 1e-9);
    EXPECT_GT(trace.signals.at("self_certainty"), 0.0);
    EXPECT_GT(trace.signals.at("lowest_window"), 0.0);
  }
}

TEST(Engine, TracesJoinAndLeaveAndPagesReturn) {
  const ModelConfig config = TinyConfig();
  EngineOptions options = TinyEngineOptions(false);
  options.kv_memory_mb = 1;  // 128 pages of 16 positions of this model
  auto engine = TinyEngine(options, config, TinyParameters(config));
  std::vector<EngineRequest> requests;
  for (uint64_t id = 1; id <= 12; ++id) requests.push_back(Request(id, 40, 5, 3 + static_cast<int64_t>(id * 5 % 30)));
  const auto groups = RunAll(*engine, std::move(requests));
  EXPECT_EQ(groups.size(), 12u);
  const EngineStats stats = engine->stats();
  EXPECT_EQ(stats.joins, stats.leaves);
  EXPECT_EQ(stats.joins, 60u);
  EXPECT_EQ(stats.pages_used, 0);
  EXPECT_GT(stats.pages_reused, 0);
  EXPECT_EQ(stats.prompt_tokens, 12u * 40u);  // each group's prompt once
  EXPECT_EQ(stats.shared_tokens, 12u * 40u * 4u);
  EXPECT_GT(stats.tokens_per_second(), 0.0);
}

TEST(Engine, ScorerGivesTheSameLogProbabilities) {
  const ModelConfig config = TinyConfig();
  auto engine = TinyEngine(TinyEngineOptions(true), config, TinyParameters(config));
  const auto groups = RunAll(*engine, {Request(1, 20, 3, 12)});
  std::vector<std::vector<int32_t>> completions;
  for (const Trace& trace : groups.at(1).traces_G) completions.push_back(trace.tokens_T);
  completions.push_back({});
  Scorer scorer(*engine);
  const auto scores = scorer.Score(groups.at(1).prompt_tokens_P, completions);
  ASSERT_TRUE(scores) << scores.error().Message();
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ((*scores)[i].log_probs_T, groups.at(1).traces_G[i].log_probs_T);
  EXPECT_TRUE((*scores)[3].log_probs_T.empty());
  EXPECT_FALSE(scorer.ScoreOne({1, 2}, {263}));
  EXPECT_FALSE(scorer.ScoreOne({}, {1}));
}

// Forces a text before the first sampled token, samples, forces again and reads a slot.
class ScriptedEpisode final : public Episode {
 public:
  int64_t max_tokens() const override { return 3 + 4 + 2 + 1; }
  NextAction Next() override {
    switch (stage_++) {
      case 0:
        return {.kind = NextAction::Kind::kForce, .ids = {10, 20, 30}, .slot = {}, .finish = FinishReason::kStop};
      case 1:
      case 2:
      case 3:
      case 4:
        return {};
      case 5:
        return {.kind = NextAction::Kind::kForce, .ids = {40, 50}, .slot = {}, .finish = FinishReason::kStop};
      case 6:
        return {.kind = NextAction::Kind::kReadSlot, .ids = {}, .slot = {258, 259}, .finish = FinishReason::kStop};
      default:
        return {.kind = NextAction::Kind::kFinish, .ids = {}, .slot = {}, .finish = FinishReason::kStop};
    }
  }
  Status Append(int32_t, Origin origin) override { return origins_.push_back(origin), Status{}; }
  Status Finish(Trace& trace, const TraceReadings&) override {
    trace.spans = MakeSpans(origins_, std::vector<Segment>(origins_.size(), Segment::kAnswer), 0);
    return {};
  }

 private:
  int stage_ = 0;
  std::vector<Origin> origins_;
};

TEST(Engine, ForcedTokensAndTheSlot) {
  const ModelConfig config = TinyConfig();
  const Parameters parameters = TinyParameters(config);
  auto engine = TinyEngine(TinyEngineOptions(true), config, parameters);
  EngineRequest request = Request(1, 21, 3, 50);
  request.episode = [](const SamplingOptions&) -> std::unique_ptr<Episode> { return std::make_unique<ScriptedEpisode>(); };
  const auto groups = RunAll(*engine, {std::move(request), Request(2, 30, 4, 25)});
  const TraceGroup& group = groups.at(1);
  const TokenScores scores = LearnerScores(config, parameters, true, group, {258, 259});
  const float* log_prob = scores.log_probs_M.const_data_ptr<float>();
  const float* slot = scores.selected_ME.const_data_ptr<float>();
  for (const Trace& trace : group.traces_G) {
    ASSERT_EQ(trace.tokens_T.size(), 10u);
    EXPECT_EQ(std::vector<int32_t>(trace.tokens_T.begin(), trace.tokens_T.begin() + 3), (std::vector<int32_t>{10, 20, 30}));
    ASSERT_EQ(trace.spans.size(), 4u);
    for (size_t t = 0; t < 10; ++t, ++log_prob) {
      if (3 <= t && t < 7)
        EXPECT_EQ(trace.log_probs_T[t], *log_prob);
      else
        EXPECT_EQ(trace.log_probs_T[t], 0.0f);
    }
    slot += 2 * 9;  // the row that predicts the slot's token
    EXPECT_EQ(trace.signals.at("slot"), SlotConfidence(static_cast<double>(slot[0]), static_cast<double>(slot[1])));
    EXPECT_EQ(trace.tokens_T[9], slot[0] >= slot[1] ? 258 : 259);
    slot += 2;
  }
  EXPECT_EQ(engine->stats().pages_used, 0);
}

TEST(Engine, LowConfidenceEndsATraceEarly) {
  const ModelConfig config = TinyConfig();
  auto engine = TinyEngine(TinyEngineOptions(false), config, TinyParameters(config));
  EngineRequest request = Request(1, 10, 2, 60);
  request.sampling.stop_below_confidence = 1000.0;
  const auto groups = RunAll(*engine, {std::move(request)});
  for (const Trace& trace : groups.at(1).traces_G) {
    EXPECT_EQ(trace.finish, FinishReason::kBudget);
    EXPECT_EQ(trace.tokens_T.size(), 16u);  // one full window
  }
}

TEST(Engine, NewWeightsInFlightAreMarkedOnTheirTokens) {
  const ModelConfig config = TinyConfig();
  auto engine = TinyEngine(TinyEngineOptions(false), config, TinyParameters(config));
  ASSERT_TRUE(engine->Submit(Request(1, 10, 1, 20)));
  for (int i = 0; i < 8; ++i) ASSERT_TRUE(engine->Step());
  ASSERT_TRUE(engine->LoadParameters(PolicyVersion{2}, config, TinyParameters(config, 9)));
  const auto groups = RunAll(*engine, {});
  const Trace& trace = groups.at(1).traces_G[0];
  EXPECT_EQ(trace.version_T.front(), 1u);
  EXPECT_EQ(trace.version_T.back(), 2u);
  ModelConfig wider = config;
  wider.intermediate_size = 128;
  ASSERT_TRUE(engine->Submit(Request(2, 10, 1, 20)));
  EXPECT_FALSE(engine->LoadParameters(PolicyVersion{3}, wider, TinyParameters(wider)));
}

TEST(Engine, CancelTakesAGroupOut) {
  const ModelConfig config = TinyConfig();
  auto engine = TinyEngine(TinyEngineOptions(false), config, TinyParameters(config));
  ASSERT_TRUE(engine->Submit(Request(1, 40, 6, 50)));
  ASSERT_TRUE(engine->Submit(Request(2, 40, 2, 5)));
  for (int i = 0; i < 6; ++i) ASSERT_TRUE(engine->Step());
  EXPECT_GT(engine->Progress().at(GroupId{1}), 0u);
  EXPECT_TRUE(engine->Cancel(GroupId{1}));
  EXPECT_FALSE(engine->Cancel(GroupId{1}));
  const auto groups = RunAll(*engine, {});
  EXPECT_EQ(groups.count(1), 0u);
  EXPECT_EQ(engine->stats().pages_used, 0);
}

TEST(Engine, BadRequestsAreRefusedByName) {
  const ModelConfig config = TinyConfig();
  auto bare = Engine::Create(TinyEngineOptions(false));
  ASSERT_TRUE(bare);
  EXPECT_FALSE((*bare)->Submit(Request(1, 4, 1, 4)));
  EXPECT_FALSE((*bare)->Step());
  EXPECT_FALSE((*bare)->Load(PolicyVersion{1}, "/nonexistent"));
  auto engine = TinyEngine(TinyEngineOptions(false), config, TinyParameters(config));
  const auto refused = [&](EngineRequest request, const std::string& word) {
    const Status status = engine->Submit(std::move(request));
    ASSERT_FALSE(status) << word;
    EXPECT_NE(status.error().Message().find(word), std::string::npos) << status.error().Message();
  };
  EngineRequest request = Request(1, 4, 1, 4);
  request.prompt_tokens_P[2] = 263;
  refused(request, "token 2");
  request = Request(1, 4, 1, 4);
  request.prompt_tokens_P.clear();
  refused(request, "empty prompt");
  refused(Request(1, 4, 0, 4), "0 + 0 traces");
  refused(Request(1, 4, -1, 4, 3), "-1 + 3");
  refused(Request(1, 500, 1, 40), "512 positions");
  request = Request(1, 4, 1, 4);
  request.sampling.temperature = std::nan("");
  refused(request, "temperature");
  request = Request(1, 4, 1, 4);
  request.sampling.top_p = 0.0;
  refused(request, "top_p");
  request = Request(1, 4, 1, 4);
  request.episode = nullptr;
  refused(request, "no episode");
  ASSERT_TRUE(engine->Submit(Request(5, 4, 1, 4)));
  refused(Request(5, 4, 1, 4), "already");
  EngineOptions bad = TinyEngineOptions(true);
  bad.dtype = "bf16";
  EXPECT_FALSE(Engine::Create(bad));
  bad = TinyEngineOptions(false);
  bad.page_tokens = 20;
  EXPECT_FALSE(Engine::Create(bad));
  bad.page_tokens = 16, bad.dtype = "fp7";
  EXPECT_FALSE(Engine::Create(bad));
}

TEST(Engine, DivergedWeightsAreAnError) {
  const ModelConfig config = TinyConfig();
  Parameters parameters = TinyParameters(config);
  parameters.Get("model.norm.weight").fill_(std::nanf(""));
  auto engine = TinyEngine(TinyEngineOptions(false), config, parameters);
  ASSERT_TRUE(engine->Submit(Request(1, 4, 1, 4)));
  const Status step = engine->Step();
  ASSERT_FALSE(step);
  EXPECT_NE(step.error().what.find("not finite"), std::string::npos);
}

// What a failure in the middle of a swap leaves is not half of two versions.
TEST(Engine, WeightsThatCannotBeTakenLeaveTheOldVersionWholeOrNone) {
  const ModelConfig config = TinyConfig();
  const Parameters parameters = TinyParameters(config);
  const auto whole = RunAll(*TinyEngine(TinyEngineOptions(true), config, parameters), {Request(1, 20, 2, 12)});
  auto engine = TinyEngine(TinyEngineOptions(true), config, parameters);
  ModelConfig deep = config;  // of which the cache holds no two pages: refused before the old version goes
  deep.num_layers = 1000;
  const Parameters none;
  EXPECT_FALSE(engine->LoadParameters(PolicyVersion{2}, deep, none));
  ASSERT_TRUE(engine->loaded());
  ASSERT_TRUE(engine->Submit(Request(1, 20, 2, 12)));
  for (int steps = 0; steps < 5; ++steps) ASSERT_TRUE(engine->Step());
  ModelConfig narrow = config;
  narrow.hidden_size = 32, narrow.head_dim = 8;
  EXPECT_FALSE(engine->LoadParameters(PolicyVersion{2}, config, TinyParameters(narrow))) << "its tensors are too small for the config";
  EXPECT_FALSE(engine->loaded());
  const Status step = engine->Step(), submitted = engine->Submit(Request(2, 4, 1, 4));
  ASSERT_FALSE(step);
  EXPECT_NE(step.error().what.find("before any weights were loaded"), std::string::npos) << step.error().Message();
  ASSERT_FALSE(submitted);
  EXPECT_NE(submitted.error().what.find("before any weights were loaded"), std::string::npos) << submitted.error().Message();
  ASSERT_TRUE(engine->LoadParameters(PolicyVersion{1}, config, parameters));
  const auto groups = RunAll(*engine, {});
  ASSERT_EQ(groups.size(), 1u);
  for (size_t trace = 0; trace < 2; ++trace)
    EXPECT_EQ(groups.at(1).traces_G[trace].tokens_T, whole.at(1).traces_G[trace].tokens_T) << "they kept their place";
}

TEST(Engine, Bf16StaysNearFp32) {
  const ModelConfig config = TinyConfig();
  const Parameters parameters = TinyParameters(config);
  EngineOptions options = TinyEngineOptions(false);
  options.dtype = "bf16";
  auto engine = TinyEngine(options, config, parameters);
  const auto groups = RunAll(*engine, {Request(1, 40, 4, 30)});
  const TokenScores scores = LearnerScores(config, parameters, false, groups.at(1));
  const float* learner = scores.log_probs_M.const_data_ptr<float>();
  double difference = 0;
  for (const Trace& trace : groups.at(1).traces_G)
    for (size_t t = 0; t < trace.tokens_T.size(); ++t)
      difference += std::abs(static_cast<double>(trace.log_probs_T[t]) - static_cast<double>(*learner++)) / 120;
  EXPECT_LT(difference, 0.1);
  EXPECT_GT(difference, 0.0);
}

}  // namespace
}  // namespace candor
