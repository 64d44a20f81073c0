#include "rollout/scorer.h"

#include "model/policy_pass.h"
#include "rollout/engine_impl.h"

namespace candor {

Result<std::vector<ScoredTokens>> Scorer::Score(const std::vector<int32_t>& prompt_P, const std::vector<std::vector<int32_t>>& completions,
                                                bool ranks) {
  const Engine::Impl& engine = engine_.impl();
  if (!engine.loaded) return Fail(ErrorCode::kInvalidInput, "scoring needs weights, but none are loaded");
  const auto check = [&](const std::vector<int32_t>& ids) { return CheckTokenIds(ids, engine.config.vocab_size, "a scored sequence"); };
  CANDOR_TRY(check(prompt_P));
  PackedGroups batch;
  for (const auto& completion : completions) CANDOR_TRY(check(completion));
  CANDOR_TRY(batch.Add(prompt_P, completions));
  std::vector<ScoredTokens> results(completions.size());
  if (batch.scored() == 0) return results;
  CANDOR_ASSIGN(const TokenScores scores, ScoreTokens(engine.config, *engine.parameters, engine.numerics, batch, {}, ranks));
  const float* log_prob = scores.log_probs_M.const_data_ptr<float>();
  const float* entropy = scores.entropy_M.const_data_ptr<float>();
  const int32_t* rank = ranks ? scores.ranks_M.const_data_ptr<int32_t>() : nullptr;
  for (size_t i = 0; i < completions.size(); ++i) {
    const size_t size = completions[i].size();
    results[i].log_probs_T.assign(log_prob, log_prob + size);
    results[i].entropy_T.assign(entropy, entropy + size);
    log_prob += size, entropy += size;
    if (rank) results[i].ranks_T.assign(rank, rank + size), rank += size;
  }
  return results;
}

Result<ScoredTokens> Scorer::ScoreOne(const std::vector<int32_t>& prompt_P, const std::vector<int32_t>& completion_T) {
  CANDOR_ASSIGN(std::vector<ScoredTokens> results, Score(prompt_P, {completion_T}));
  return std::move(results.front());
}

}  // namespace candor
