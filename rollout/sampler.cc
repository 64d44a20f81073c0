#include "rollout/sampler.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <iterator>
#include <limits>

#include "model/head.h"

// Each hot loop is compiled for several instruction sets and chosen at start; lanes are explicit so that the order of additions is the same
// on all of them.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CANDOR_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define CANDOR_CLONES
#endif

namespace candor {
namespace {

constexpr int kLanes = 16;
static_assert(kSamplerChunk % kLanes == 0);

// Sixteen lanes; where the machine's registers are narrower the compiler splits them.
using Lanes = float __attribute__((vector_size(64)));
using IntLanes = int32_t __attribute__((vector_size(64)));
using LanesInMemory = float __attribute__((vector_size(64), aligned(4), may_alias));

// x becomes exp(x) for x <= 0, relative error below 2e-7; about 1e-38 below -87. Cephes' polynomial. By reference, because vectors of this
// size have no fixed calling convention.
[[gnu::always_inline]] inline void ExpNonPositive(Lanes& x) {
  constexpr float kRound = 12582912.0f;  // adding 1.5 * 2^23 rounds to an integer
  x = x < -87.0f ? Lanes{} - 87.0f : x;
  const Lanes n = (x * 1.44269504088896341f + kRound) - kRound;
  const Lanes r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Lanes p = r * 1.9875691500e-4f + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  const IntLanes bits = (__builtin_convertvector(n, IntLanes) + 127) << 23;
  x = p * reinterpret_cast<Lanes>(bits);
}

// Maximum of every chunk, and the sum of all logits.
CANDOR_CLONES double ScanChunks(const float* logits_V, int64_t full_chunks, float* chunk_max) {
  double total = 0.0;
  for (int64_t c = 0; c < full_chunks; ++c) {
    const float* z = logits_V + c * kSamplerChunk;
    float max[kLanes], sum[kLanes];
    for (int i = 0; i < kLanes; ++i) max[i] = z[i], sum[i] = z[i];
    for (int64_t j = kLanes; j < kSamplerChunk; j += kLanes)
      for (int i = 0; i < kLanes; ++i) max[i] = z[j + i] > max[i] ? z[j + i] : max[i], sum[i] += z[j + i];
    for (int width = kLanes / 2; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) max[i] = max[i + width] > max[i] ? max[i + width] : max[i], sum[i] += sum[i + width];
    chunk_max[c] = max[0];
    total += static_cast<double>(sum[0]);
  }
  return total;
}

CANDOR_CLONES void WeighChunks(const float* logits_V, int64_t full_chunks, float max, float inverse_temperature, float* chunk_weight) {
  for (int64_t c = 0; c < full_chunks; ++c) {
    const auto* z = reinterpret_cast<const LanesInMemory*>(logits_V + c * kSamplerChunk);
    Lanes total = {};
    for (int64_t j = 0; j < kSamplerChunk / kLanes; ++j) {
      Lanes x = (z[j] - max) * inverse_temperature;
      ExpNonPositive(x);
      total += x;
    }
    float sum[kLanes];
    std::memcpy(sum, &total, sizeof(sum));
    for (int width = kLanes / 2; width > 0; width /= 2)
      for (int i = 0; i < width; ++i) sum[i] += sum[i + width];
    chunk_weight[c] = sum[0];
  }
}

// exp((z - max) / T) of up to kSamplerChunk logits from `begin`, the same numbers as WeighChunks adds up.
CANDOR_CLONES void WeighTokens(const float* logits_V, int64_t begin, int64_t end, float max, float inverse_temperature, float* weights) {
  for (int64_t j = begin; j < end; j += kLanes) {
    float z[kLanes] = {};
    for (int64_t i = 0; i < kLanes; ++i) z[i] = j + i < end ? logits_V[j + i] : max;
    Lanes x;
    std::memcpy(&x, z, sizeof(x));
    x = (x - max) * inverse_temperature;
    ExpNonPositive(x);
    std::memcpy(weights + (j - begin), &x, sizeof(x));
  }
}

int64_t ChunkCount(int64_t vocab_size) { return (vocab_size + kSamplerChunk - 1) / kSamplerChunk; }

// Fills scratch.chunk_max; returns the sum of all logits.
double FindChunkMaxima(const float* logits_V, int64_t vocab_size, SamplerScratch& scratch) {
  const int64_t full = vocab_size / kSamplerChunk, chunks = ChunkCount(vocab_size);
  scratch.chunk_max.resize(static_cast<size_t>(chunks));
  double sum = ScanChunks(logits_V, full, scratch.chunk_max.data());
  if (full < chunks) {
    float max = logits_V[full * kSamplerChunk];
    for (int64_t j = full * kSamplerChunk; j < vocab_size; ++j)
      max = logits_V[j] > max ? logits_V[j] : max, sum += static_cast<double>(logits_V[j]);
    scratch.chunk_max[static_cast<size_t>(full)] = max;
  }
  return sum;
}

// The k largest logits, in falling order, into scratch.top. The k-th largest chunk maximum bounds the k-th largest logit from below, so few
// chunks are looked into.
void CollectTop(const float* logits_V, int64_t vocab_size, int64_t k, SamplerScratch& scratch) {
  std::vector<float>& top = scratch.top;
  float floor = -std::numeric_limits<float>::infinity();
  const int64_t chunks = ChunkCount(vocab_size);
  if (chunks > k) {
    top.assign(scratch.chunk_max.begin(), scratch.chunk_max.begin() + chunks);
    std::nth_element(top.begin(), top.begin() + (k - 1), top.end(), std::greater<>());
    floor = top[static_cast<size_t>(k - 1)];
  }
  top.clear();
  for (int64_t c = 0; c < chunks; ++c) {
    if (!(scratch.chunk_max[c] >= floor)) continue;
    const int64_t end = std::min(vocab_size, (c + 1) * kSamplerChunk);
    for (int64_t j = c * kSamplerChunk; j < end; ++j)
      if (logits_V[j] >= floor) top.push_back(logits_V[j]);
  }
  const auto kept = std::min<int64_t>(k, static_cast<int64_t>(top.size()));
  std::partial_sort(top.begin(), top.begin() + kept, top.end(), std::greater<>());
  top.resize(static_cast<size_t>(kept));
}

int32_t FirstAtLeast(const float* logits_V, int64_t vocab_size, float max, const std::vector<float>& chunk_max) {
  for (int64_t c = 0; c < ChunkCount(vocab_size); ++c) {
    if (!(chunk_max[c] >= max)) continue;
    const int64_t end = std::min(vocab_size, (c + 1) * kSamplerChunk);
    for (int64_t j = c * kSamplerChunk; j < end; ++j)
      if (logits_V[j] >= max) return static_cast<int32_t>(j);
  }
  return 0;
}

// Weights exp((z - max) / T) of every chunk into scratch.chunk_weight; their sum.
double WeighAll(const float* logits_V, int64_t vocab_size, float max, float inverse_temperature, SamplerScratch& scratch) {
  const int64_t full = vocab_size / kSamplerChunk, chunks = ChunkCount(vocab_size);
  scratch.chunk_weight.resize(static_cast<size_t>(chunks));
  WeighChunks(logits_V, full, max, inverse_temperature, scratch.chunk_weight.data());
  if (full < chunks) {
    float rest = 0.0f, weights[kSamplerChunk];
    WeighTokens(logits_V, full * kSamplerChunk, vocab_size, max, inverse_temperature, weights);
    for (int64_t j = full * kSamplerChunk; j < vocab_size; ++j) rest += weights[j - full * kSamplerChunk];
    scratch.chunk_weight[static_cast<size_t>(full)] = rest;
  }
  double total = 0.0;
  for (float w : scratch.chunk_weight) total += static_cast<double>(w);
  return total;
}

int32_t ChooseUnfiltered(const float* logits_V, int64_t vocab_size, const RowReading& reading, float inverse_temperature, double u,
                         SamplerScratch& scratch) {
  double left = u * WeighAll(logits_V, vocab_size, reading.max, inverse_temperature, scratch);
  const int64_t chunks = ChunkCount(vocab_size);
  int64_t chunk = 0;
  for (; chunk + 1 < chunks && left >= static_cast<double>(scratch.chunk_weight[chunk]); ++chunk)
    left -= static_cast<double>(scratch.chunk_weight[chunk]);
  int32_t chosen = reading.argmax;
  const int64_t begin = chunk * kSamplerChunk, end = std::min(vocab_size, begin + kSamplerChunk);
  float weights[kSamplerChunk];
  WeighTokens(logits_V, begin, end, reading.max, inverse_temperature, weights);
  // Rounding can leave a little more than the chunk holds: then its last token of any weight is meant.
  for (int64_t j = begin; j < end; ++j) {
    const auto w = static_cast<double>(weights[j - begin]);
    if (w < 1e-30) continue;
    chosen = static_cast<int32_t>(j);
    if (left < w) break;
    left -= w;
  }
  return chosen;
}

// Tokens with a logit of at least `floor`, by probability, ties by id.
void GatherCandidates(const float* logits_V, int64_t vocab_size, float floor, SamplerScratch& scratch) {
  auto& candidates = scratch.candidates;
  candidates.clear();
  for (int64_t j = 0; j < vocab_size; ++j)
    if (logits_V[j] >= floor) candidates.emplace_back(logits_V[j], static_cast<int32_t>(j));
  std::sort(candidates.begin(), candidates.end(),
            [](const auto& a, const auto& b) { return a.first != b.first ? a.first > b.first : a.second < b.second; });
}

// Gathers a set of candidates that surely holds what top-k and min-p keep; with neither, the tokens within e^-16 of the top one.
void GatherForFilters(const float* logits_V, int64_t vocab_size, const RowReading& reading, const SamplingOptions& sampling,
                      SamplerScratch& scratch) {
  const auto temperature = static_cast<float>(sampling.temperature);
  const bool cut = 0 < sampling.top_k && sampling.top_k < vocab_size;
  float floor = cut || sampling.min_p > 0.0 ? -std::numeric_limits<float>::infinity() : reading.max - 16.0f * temperature;
  if (cut) {
    FindChunkMaxima(logits_V, vocab_size, scratch);
    CollectTop(logits_V, vocab_size, sampling.top_k, scratch);
    floor = scratch.top.back();
  }
  if (sampling.min_p > 0.0) floor = std::max(floor, reading.max + (static_cast<float>(std::log(sampling.min_p)) - 1e-3f) * temperature);
  GatherCandidates(logits_V, vocab_size, floor, scratch);
}

int32_t ChooseFiltered(const float* logits_V, int64_t vocab_size, const RowReading& reading, const SamplingOptions& sampling, double u,
                       SamplerScratch& scratch) {
  GatherForFilters(logits_V, vocab_size, reading, sampling, scratch);
  auto& candidates = scratch.candidates;
  const double inverse_temperature = 1.0 / sampling.temperature;
  auto weight = [&](size_t i) { return std::exp(static_cast<double>(candidates[i].first - reading.max) * inverse_temperature); };
  const bool cut = sampling.top_k > 0 || sampling.min_p > 0.0;
  size_t kept = sampling.top_k > 0 ? std::min(candidates.size(), static_cast<size_t>(sampling.top_k)) : candidates.size();
  double total = 0.0;
  for (size_t i = 0; i < kept; ++i) {
    if (weight(i) < sampling.min_p)
      kept = i;  // min-p: relative to the most likely token, whose weight is 1
    else
      total += weight(i);
  }
  if (!cut) total = WeighAll(logits_V, vocab_size, reading.max, static_cast<float>(inverse_temperature), scratch);
  if (sampling.top_p < 1.0) {
    double mass = 0.0;
    size_t i = 0;
    while (i < kept && mass < sampling.top_p * total) mass += weight(i++);
    if (!cut && mass < sampling.top_p * total) {  // a very flat row: the nucleus reaches below the candidates
      GatherCandidates(logits_V, vocab_size, -std::numeric_limits<float>::infinity(), scratch);
      kept = candidates.size();
      while (i < kept && mass < sampling.top_p * total) mass += weight(i++);
    }
    kept = i;
    total = mass;
  }
  double left = u * total;
  for (size_t i = 0; i + 1 < kept; ++i) {
    if (left < weight(i)) return candidates[i].second;
    left -= weight(i);
  }
  return candidates[kept - 1].second;
}

}  // namespace

RowReading ReadRow(const float* logits_V, int64_t vocab_size, int64_t confidence_top_k, SamplerScratch& scratch) {
  RowReading reading;
  const RowStats stats = RowStatistics(logits_V, vocab_size);
  reading.max = stats.max, reading.log_sum_exp = stats.log_sum_exp, reading.entropy = stats.entropy;
  const double sum = FindChunkMaxima(logits_V, vocab_size, scratch);
  // The sum holds every logit, so one NaN or infinity shows in it.
  reading.finite = std::isfinite(sum) && std::isfinite(stats.log_sum_exp);
  if (!reading.finite) return reading;
  const auto size = static_cast<double>(vocab_size);
  reading.self_certainty = static_cast<float>(static_cast<double>(stats.log_sum_exp) - sum / size - std::log(size));
  CollectTop(logits_V, vocab_size, std::max<int64_t>(2, std::min(confidence_top_k, vocab_size)), scratch);
  const auto k = static_cast<size_t>(std::min(confidence_top_k, vocab_size));
  double top_sum = 0.0;
  for (size_t i = 0; i < std::min(k, scratch.top.size()); ++i) top_sum += static_cast<double>(scratch.top[i]);
  reading.token_confidence = static_cast<float>(static_cast<double>(stats.log_sum_exp) - top_sum / static_cast<double>(k));
  auto probability = [&](size_t i) {
    return i < scratch.top.size() ? std::exp(static_cast<double>(scratch.top[i] - stats.log_sum_exp)) : 0.0;
  };
  reading.margin = static_cast<float>(probability(0) - probability(1));
  reading.argmax = FirstAtLeast(logits_V, vocab_size, scratch.top.front(), scratch.chunk_max);
  return reading;
}

int32_t ChooseToken(const float* logits_V, int64_t vocab_size, const RowReading& reading, const SamplingOptions& sampling, double u,
                    SamplerScratch& scratch) {
  if (!(sampling.temperature > 0.0)) return reading.argmax;
  const bool filtered = sampling.top_k > 0 || sampling.top_p < 1.0 || sampling.min_p > 0.0;
  return filtered ? ChooseFiltered(logits_V, vocab_size, reading, sampling, u, scratch)
                  : ChooseUnfiltered(logits_V, vocab_size, reading, static_cast<float>(1.0 / sampling.temperature), u, scratch);
}

std::vector<std::pair<int32_t, float>> TopLogProbs(const float* logits_V, int64_t vocab_size, const RowReading& reading, int32_t count) {
  std::vector<std::pair<int32_t, float>> top;  // sorted, best first; a few, so that inserting is cheap
  for (int64_t v = 0; v < vocab_size && count > 0; ++v) {
    if (std::ssize(top) == count && logits_V[v] <= top.back().second) continue;
    const auto at = std::find_if(top.begin(), top.end(), [&](const auto& entry) { return entry.second < logits_V[v]; });
    top.insert(at, {static_cast<int32_t>(v), logits_V[v]});
    if (std::ssize(top) > count) top.pop_back();
  }
  for (auto& entry : top) entry.second -= reading.log_sum_exp;
  return top;
}

}  // namespace candor
