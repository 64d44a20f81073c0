// A tiny random policy, scored groups made from a seed, and ranks as threads: what the trainer's tests share.
#pragma once
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "core/collective.h"
#include "core/rng.h"
#include "core/trace.h"
#include "model/parameters.h"
#include "trainer/shard_bench.h"
#include "trainer/sharded_policy.h"

namespace candor::tiny {

inline ModelConfig Config(bool tied = true) {
  ModelConfig config;
  config.family = Family::kLlama;
  config.vocab_size = 67, config.hidden_size = 32, config.intermediate_size = 48, config.num_layers = 2;
  config.num_heads = 4, config.num_kv_heads = 2, config.head_dim = 16, config.max_positions = 128;
  config.tie_embeddings = tied;
  config.eos_ids = {2};
  return config;
}
inline constexpr int32_t kHigh = 5, kLow = 6;

inline std::vector<int32_t> Tokens(int64_t count, uint64_t a, uint64_t b = 0) {
  std::vector<int32_t> tokens;
  for (int64_t i = 0; i < count; ++i)
    tokens.push_back(static_cast<int32_t>(7 + RandomBits(9, RngStream::kSynthetic, a, b, static_cast<uint64_t>(i)) % 60));
  return tokens;
}

// `traces` sampled answers and a greedy one, each with a slot at its end; labels by the hash of the coordinates.
inline ScoredGroup Group(uint64_t wave, uint32_t position, int traces = 4, int64_t prompt_tokens = 9) {
  ScoredGroup group;
  group.id = MakeGroupId(wave, position);
  group.wave = {wave};
  group.prompt_tokens_P = Tokens(prompt_tokens, group.id.value);
  for (int i = 0; i <= traces; ++i) {
    ScoredTrace scored;
    int32_t answer = 3 + static_cast<int32_t>(RandomBits(3, RngStream::kSynthetic, group.id.value, static_cast<uint64_t>(i)) % 4);
    scored.trace.index = i;
    scored.trace.greedy = i == traces;
    scored.trace.tokens_T = Tokens(answer + 2, group.id.value, static_cast<uint64_t>(i) + 1);
    size_t n = scored.trace.tokens_T.size();
    scored.trace.tokens_T[n - 1] = kHigh;
    scored.trace.spans = {{Origin::kPolicy, Segment::kAnswer, 0, 0, answer},
                          {Origin::kEnvironment, Segment::kConfidence, 0, answer, answer + 1},
                          {Origin::kPolicy, Segment::kSlot, 0, answer + 1, answer + 2}};
    scored.trace.log_probs_T.assign(n, -4.2f);
    scored.trace.entropy_T.assign(n, 4.0f);
    scored.trace.version_T.assign(n, wave > 0 ? wave - 1 : 0);
    scored.label =
        i == 0 || RandomBits(4, RngStream::kSynthetic, group.id.value, static_cast<uint64_t>(i)) % 2 ? Label::kCorrect : Label::kWrong;
    if (i == 1) scored.label = Label::kWrong;
    scored.channels["accuracy"] = scored.label == Label::kCorrect ? 1.0 : 0.0;
    group.traces_G.push_back(std::move(scored));
  }
  return group;
}

// Runs `body` on `ranks` threads; element r of the result is what rank r returned.
template <typename T>
std::vector<T> OnRanks(int ranks, const std::function<T(Collective&)>& body) {
  std::vector<std::unique_ptr<Collective>> collectives = MakeLocalCollectives(ranks);
  std::vector<T> results(static_cast<size_t>(ranks));
  std::vector<std::thread> threads;
  for (int r = 0; r < ranks; ++r)
    threads.emplace_back([&, r] {
      at::set_num_threads(1);
      results[static_cast<size_t>(r)] = body(*collectives[static_cast<size_t>(r)]);
    });
  for (std::thread& thread : threads) thread.join();
  return results;
}

// All weights of a policy, one after the other: the fp32 masters, or what the model computes with.
inline std::vector<float> Weights(ShardedPolicy& policy, ShardedPolicy::Which which = ShardedPolicy::Which::kMaster) {
  std::vector<float> all;
  for (size_t u = 0; u < policy.units().size(); ++u) {
    at::Tensor whole = policy.WholeUnit(u, which).value().to(at::kFloat).cpu();
    all.insert(all.end(), whole.data_ptr<float>(), whole.data_ptr<float>() + policy.units()[u].Count());
  }
  return all;
}

using candor::RelativeDistance;

class Folder {
 public:
  Folder()
      : path_((std::filesystem::temp_directory_path() / ("candor_trainer_" + std::to_string(::getpid()) + "_" + std::to_string(Next())))
                  .string()) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  static int Next() {
    static int next = 0;
    return next++;
  }
  std::string path_;
};

}  // namespace candor::tiny
