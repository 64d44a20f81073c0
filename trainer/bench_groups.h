// Made-up scored groups for the learner's benches: random tokens that share a prompt, every second answer right.
#pragma once
#include <cstdint>

#include "core/trace.h"

namespace candor {

struct SyntheticShape {
  int64_t prompt_tokens = 60, answers = 8, answer_tokens = 32;
  int64_t common_tokens = 0;  // of the prompt: those that all prompts begin with
};
// The same group for the same `which`, on every rank.
ScoredGroup SyntheticGroup(const SyntheticShape& shape, int64_t vocab_size, uint64_t which);
// `count` tokens that are a function of `which`.
std::vector<int32_t> SyntheticTokens(int64_t count, int64_t vocab_size, uint64_t which);

}  // namespace candor
