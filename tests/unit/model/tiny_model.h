// Shared by the tests of model/: tiny configs, packed batches and comparisons.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>
#include <sstream>

#include "core/rng.h"
#include "model/policy_pass.h"
#include "model/safetensors_io.h"

namespace candor {

inline std::string GoldenPath(const std::string& name) { return std::string(CANDOR_SOURCE_DIR) + "/tests/golden/model/" + name; }

inline std::string ReadText(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

inline ModelConfig TinyConfig(Family family = Family::kLlama) {
  ModelConfig config;
  config.family = family;
  config.vocab_size = 70;
  config.hidden_size = 48;
  config.intermediate_size = 40;
  config.num_layers = 2;
  config.num_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.max_positions = 256;
  config.tie_embeddings = true;
  config.qkv_bias = family == Family::kQwen2;
  config.qk_norm = family == Family::kQwen3;
  config.eos_ids = {2};
  return config;
}

inline std::vector<int32_t> TestIds(int64_t count, uint64_t seed, int64_t vocab_size) {
  std::vector<int32_t> ids;
  for (int64_t i = 0; i < count; ++i)
    ids.push_back(static_cast<int32_t>(SplitMix64(seed * 1000 + static_cast<uint64_t>(i)) % static_cast<uint64_t>(vocab_size)));
  return ids;
}

// Numbers in (-1, 1), a pure function of seed and index.
inline at::Tensor TestTensor(std::vector<int64_t> shape, uint64_t seed, at::ScalarType dtype = at::kFloat) {
  at::Tensor x = at::empty(shape, at::kFloat);
  float* p = x.mutable_data_ptr<float>();
  for (int64_t i = 0; i < x.numel(); ++i)
    p[i] = static_cast<float>(2.0 * ToUnit(SplitMix64(seed * 1000003 + static_cast<uint64_t>(i))) - 1.0);
  return x.to(dtype);
}

inline double MaxAbs(const at::Tensor& x) { return x.numel() == 0 ? 0.0 : x.abs().max().item<double>(); }
// ||a - b|| / ||b||, in double.
inline double RelativeError(const at::Tensor& a, const at::Tensor& b) {
  const double norm = b.to(at::kDouble).norm().item<double>();
  return (a.to(at::kDouble) - b.to(at::kDouble)).norm().item<double>() / (norm > 0.0 ? norm : 1.0);
}

// Two groups whose prompts end inside and beyond a block of 16, one answer of a single token, one empty.
inline PackedGroups TestBatch(int64_t vocab_size) {
  PackedGroups batch;
  EXPECT_TRUE(batch.Add(TestIds(7, 1, vocab_size), {TestIds(5, 2, vocab_size), TestIds(1, 3, vocab_size), TestIds(20, 4, vocab_size)}));
  EXPECT_TRUE(batch.Add(TestIds(35, 5, vocab_size), {TestIds(17, 6, vocab_size), {}, TestIds(3, 7, vocab_size)}));
  return batch;
}

// Ten groups behind a common beginning that ends inside a block; with `repeated` the same without one.
inline PackedGroups CommonBatch(int64_t vocab_size, bool repeated = false) {
  std::vector<std::vector<int32_t>> prompts;
  for (uint64_t g = 0; g < 10; ++g) {
    prompts.push_back(TestIds(37, 40, vocab_size));
    const std::vector<int32_t> own = TestIds(1 + static_cast<int64_t>(3 * g), 50 + g, vocab_size);
    prompts.back().insert(prompts.back().end(), own.begin(), own.end());
  }
  PackedGroups batch;
  if (!repeated) batch.Begin(std::span(prompts[0]).first(37));
  for (uint64_t g = 0; g < prompts.size(); ++g)
    EXPECT_TRUE(
        batch.Add(prompts[g], {TestIds(5, 60 + g, vocab_size), {}, TestIds(1, 70 + g, vocab_size), TestIds(18, 80 + g, vocab_size)}));
  return batch;
}

// A forward and a backward with all parameters in this process, where the parameters lie.
struct Gradients {
  TokenScores scores;
  Parameters gradients;
};
inline Gradients RunPass(const ModelConfig& config, const Parameters& parameters, const PackedGroups& batch,
                         const std::vector<int32_t>& extra_ids, const at::Tensor& dlog_probs, const at::Tensor& dselected,
                         PassOptions options = {}) {
  Gradients result{{}, Parameters(config, at::kFloat).To(parameters.Flat(0).device())};
  WholeAccess access(parameters, &result.gradients);
  const Numerics numerics{parameters.dtype() == at::kFloat ? DType::kFp32 : DType::kBf16, false};
  PolicyPass pass(config, numerics, access, options);
  auto scores = pass.Forward(batch, extra_ids);
  EXPECT_TRUE(scores) << scores.error().Message();
  result.scores = *scores;
  auto status = pass.Backward(dlog_probs, dselected);
  EXPECT_TRUE(status) << status.error().Message();
  return result;
}

}  // namespace candor
