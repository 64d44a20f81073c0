// From one row of raw logits to a token and what is recorded about it. Reading and choosing are apart on purpose: what is recorded
// (log-probability, entropy, self-certainty, margin, DeepConf's token confidence) belongs to the raw distribution at T = 1 before any
// filter; temperature and filters only decide which token is taken.
//
// Sources: self-certainty KL(U||p) = -(1/V) sum log p - log V (Kang et al. 2502.18581, confidence_list.py); token confidence -(1/k) sum
// over the top k of log p (DeepConf, 2508.15260, processors.py); margin p1 - p2 (CoT decoding, Wang & Zhou 2402.10200). Legend: V
// vocabulary. Pure functions; any thread, one SamplerScratch per thread.
#pragma once
#include <cstdint>
#include <utility>
#include <vector>

#include "rollout/options.h"

namespace candor {

struct SamplerScratch {
  std::vector<float> chunk_max;     // per chunk of kSamplerChunk logits
  std::vector<float> chunk_weight;  // sum of exp((z - max) / T) over the chunk
  std::vector<float> top;
  std::vector<std::pair<float, int32_t>> candidates;
};
inline constexpr int64_t kSamplerChunk = 64;

// What one row of raw logits says, whatever token is taken.
struct RowReading {
  float max = 0.0f;
  float log_sum_exp = 0.0f;       // log p(id) = logit[id] - log_sum_exp
  float entropy = 0.0f;           // nats
  float self_certainty = 0.0f;    // nats, 0 at uniform, high = confident
  float token_confidence = 0.0f;  // DeepConf, nats, high = confident
  float margin = 0.0f;            // p(most likely) - p(second)
  int32_t argmax = 0;             // ties: the lowest id
  bool finite = true;             // false: some logit is NaN or infinite (a diverged policy); the other numbers mean nothing
};

RowReading ReadRow(const float* logits_V, int64_t vocab_size, int64_t confidence_top_k, SamplerScratch& scratch);

// The token at quantile `u` in [0, 1) of the distribution after temperature, min-p, top-k and top-p, in this order (each filter acts on
// what the one before kept). Unfiltered, tokens are ordered by id; filtered, by probability, ties by id. Temperature 0 is argmax.
int32_t ChooseToken(const float* logits_V, int64_t vocab_size, const RowReading& reading, const SamplingOptions& sampling, double u,
                    SamplerScratch& scratch);

// The `count` most likely tokens with their log-probabilities, best first; ties: the lowest id.
std::vector<std::pair<int32_t, float>> TopLogProbs(const float* logits_V, int64_t vocab_size, const RowReading& reading, int32_t count);

}  // namespace candor
