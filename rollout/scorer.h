// Teacher-forced log-probabilities on an engine's weights: how likely the policy finds a given completion. For rewards that need the
// policy's view of a reference answer, for `candor score`, and for measuring the mismatch with the learner. No torch in this header. One
// thread: the engine's.
#pragma once
#include <cstdint>
#include <vector>

#include "rollout/engine.h"

namespace candor {

struct ScoredTokens {
  std::vector<float> log_probs_T;  // log p at T = 1, nats
  std::vector<float> entropy_T;
  std::vector<int32_t> ranks_T;  // 1 + how many tokens the policy found likelier; empty unless asked for
};

class Scorer {
 public:
  explicit Scorer(Engine& engine) : engine_(engine) {}
  // One result per completion, in order; all share the prompt, which is computed once. The prompt needs at least one token.
  Result<std::vector<ScoredTokens>> Score(const std::vector<int32_t>& prompt_P, const std::vector<std::vector<int32_t>>& completions,
                                          bool ranks = false);
  Result<ScoredTokens> ScoreOne(const std::vector<int32_t>& prompt_P, const std::vector<int32_t>& completion_T);

 private:
  Engine& engine_;
};

}  // namespace candor
