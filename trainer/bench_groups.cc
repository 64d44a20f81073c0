#include "trainer/bench_groups.h"

#include <algorithm>

#include "core/rng.h"

namespace candor {

std::vector<int32_t> SyntheticTokens(int64_t count, int64_t vocab_size, uint64_t which) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(
        static_cast<int32_t>(RandomBits(1, RngStream::kSynthetic, which, static_cast<uint64_t>(i)) % static_cast<uint64_t>(vocab_size)));
  return tokens;
}

ScoredGroup SyntheticGroup(const SyntheticShape& shape, int64_t vocab_size, uint64_t which) {
  ScoredGroup group;
  group.id = MakeGroupId(1, static_cast<uint32_t>(which));
  group.prompt_tokens_P = SyntheticTokens(shape.prompt_tokens, vocab_size, 1000 + which);
  const std::vector<int32_t> common = SyntheticTokens(std::min(shape.common_tokens, shape.prompt_tokens - 1), vocab_size, 999);
  std::copy(common.begin(), common.end(), group.prompt_tokens_P.begin());
  for (int64_t a = 0; a < shape.answers; ++a) {
    ScoredTrace scored;
    scored.trace.index = static_cast<int32_t>(a);
    scored.trace.tokens_T = SyntheticTokens(shape.answer_tokens, vocab_size,
                                            1'000'000 + which * static_cast<uint64_t>(shape.answers) + static_cast<uint64_t>(a));
    const size_t n = scored.trace.tokens_T.size();
    scored.trace.spans = {{Origin::kPolicy, Segment::kAnswer, 0, 0, static_cast<int32_t>(n)}};
    scored.trace.log_probs_T.assign(n, -10.0f), scored.trace.entropy_T.assign(n, 1.0f), scored.trace.version_T.assign(n, 0);
    scored.label = a % 2 ? Label::kCorrect : Label::kWrong;
    scored.channels["accuracy"] = a % 2 ? 1.0 : 0.0;
    group.traces_G.push_back(std::move(scored));
  }
  return group;
}

}  // namespace candor
