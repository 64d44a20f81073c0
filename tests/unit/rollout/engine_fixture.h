// Requests of made-up prompts, an engine driven to its end, and what the learner's pass gives for the same tokens.
#pragma once
#include <gtest/gtest.h>

#include <map>
#include <string>
#include <vector>

#include "core/rng.h"
#include "model/policy_pass.h"
#include "rollout/engine.h"
#include "tests/unit/rollout/tiny_fixture.h"

namespace candor {

inline std::vector<int32_t> RandomPrompt(uint64_t seed, int64_t tokens) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < tokens; ++i)
    ids.push_back(static_cast<int32_t>(RandomBits(seed, RngStream::kSynthetic, static_cast<uint64_t>(i)) % 256));
  return ids;
}

inline EngineRequest Request(uint64_t id, int64_t prompt_tokens, int32_t traces, int64_t new_tokens, int32_t greedy = 0) {
  EngineRequest request;
  request.id = GroupId{id};
  request.prompt_tokens_P = RandomPrompt(id, prompt_tokens);
  request.traces = traces;
  request.greedy_traces = greedy;
  request.sampling.max_new_tokens = new_tokens;
  request.seed = 42;
  request.episode = CountTokens();
  return request;
}

inline std::map<uint64_t, TraceGroup> RunAll(Engine& engine, std::vector<EngineRequest> requests) {
  for (EngineRequest& request : requests) {
    const Status submitted = engine.Submit(std::move(request));
    EXPECT_TRUE(submitted) << submitted.error().Message();
  }
  std::map<uint64_t, TraceGroup> groups;
  for (int steps = 0; engine.busy(); ++steps) {
    const Status step = engine.Step();
    EXPECT_TRUE(step) << step.error().Message();
    if (!step || steps > 5000) {
      ADD_FAILURE() << "the engine does not come to an end";
      break;
    }
    for (TraceGroup& group : engine.TakeFinished()) groups[group.id.value] = std::move(group);
  }
  return groups;
}

// What the learner's packed pass gives for the same tokens, with the logits of two ids at the row that predicts each token.
inline TokenScores LearnerScores(const ModelConfig& config, const Parameters& parameters, bool deterministic, const TraceGroup& group,
                                 const std::vector<int32_t>& extra = {}) {
  PackedGroups batch;
  std::vector<std::vector<int32_t>> answers;
  for (const Trace& trace : group.traces_G) answers.push_back(trace.tokens_T);
  EXPECT_TRUE(batch.Add(group.prompt_tokens_P, answers));
  auto scores = ScoreTokens(config, parameters, Numerics{DType::kFp32, deterministic}, batch, extra);
  EXPECT_TRUE(scores) << scores.error().Message();
  return *scores;
}

}  // namespace candor
