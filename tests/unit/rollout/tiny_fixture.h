// A byte-level tokenizer of 256 bytes and a few merges, and a random two-layer decoder over it: everything the rollout tests need, without
// a download.
#pragma once
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/parameters.h"
#include "rollout/engine.h"
#include "text/tokenizer.h"

namespace candor {

// GPT-2's printable stand-in for a byte.
inline std::string ByteLetter(int byte) {
  int code = byte;
  const auto printable = [](int b) { return (33 <= b && b <= 126) || (161 <= b && b <= 172) || (174 <= b && b <= 255); };
  if (!printable(byte)) {
    code = 256;
    for (int b = 0; b < byte; ++b) code += printable(b) ? 0 : 1;
  }
  if (code < 0x80) return std::string(1, static_cast<char>(code));
  return {static_cast<char>(0xC0 | (code >> 6)), static_cast<char>(0x80 | (code & 0x3F))};
}

inline constexpr int32_t kEndId = 262;  // "<|end|>", special

inline std::string TinyTokenizerJson() {
  nlohmann::json vocab = nlohmann::json::object();
  for (int b = 0; b < 256; ++b) vocab[ByteLetter(b)] = b;
  const std::vector<std::pair<std::string, std::string>> merges = {{"<", "/"}, {">", "x"}, {"Y", "E"}, {"N", "O"}, {"a", "n"}, {"an", "s"}};
  int id = 256;
  nlohmann::json merge_list = nlohmann::json::array();
  for (const auto& [left, right] : merges) {
    vocab[left + right] = id++;
    merge_list.push_back({left, right});
  }
  const nlohmann::json level = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}};
  const nlohmann::json end = {{"id", kEndId},    {"content", "<|end|>"}, {"single_word", false}, {"lstrip", false},
                              {"rstrip", false}, {"normalized", false},  {"special", true}};
  const nlohmann::json json = {{"version", "1.0"},
                               {"truncation", nullptr},
                               {"padding", nullptr},
                               {"added_tokens", {end}},
                               {"normalizer", nullptr},
                               {"pre_tokenizer", level},
                               {"post_processor", nullptr},
                               {"decoder", level},
                               {"model",
                                {{"type", "BPE"},
                                 {"dropout", nullptr},
                                 {"unk_token", nullptr},
                                 {"continuing_subword_prefix", nullptr},
                                 {"end_of_word_suffix", nullptr},
                                 {"fuse_unk", false},
                                 {"byte_fallback", false},
                                 {"vocab", vocab},
                                 {"merges", merge_list}}}};
  return json.dump();
}

inline Tokenizer TinyTokenizer() {
  auto tokenizer = Tokenizer::FromJson(TinyTokenizerJson(), "tiny");
  if (!tokenizer) ADD_FAILURE() << tokenizer.error().Message();
  return std::move(*tokenizer);
}

inline std::vector<int32_t> Ids(const Tokenizer& tokenizer, const std::string& text) { return *tokenizer.Encode(text, false); }

inline ModelConfig TinyConfig(Family family = Family::kLlama) {
  ModelConfig config;
  config.family = family;
  config.vocab_size = 263;
  config.hidden_size = 64;
  config.intermediate_size = 96;
  config.num_layers = 2;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 16;
  config.max_positions = 512;
  config.tie_embeddings = true;
  config.qkv_bias = family == Family::kQwen2;
  config.qk_norm = family == Family::kQwen3;
  return config;
}
// Larger weights than a real initialisation: distributions with something to tell apart.
inline Parameters TinyParameters(const ModelConfig& config, uint64_t seed = 3) { return RandomParameters(config, seed, at::kFloat, 0.3); }

inline EngineOptions TinyEngineOptions(bool deterministic) {
  EngineOptions options;
  options.device = "cpu", options.dtype = "fp32";
  options.deterministic = deterministic;
  options.threads = 2;
  options.max_batch = 8;
  options.page_tokens = 16;
  options.kv_memory_mb = 2;
  options.prefill_tokens = 64;
  return options;
}

inline std::unique_ptr<Engine> TinyEngine(const EngineOptions& options, const ModelConfig& config, const Parameters& parameters) {
  auto engine = Engine::Create(options);
  if (!engine) {
    ADD_FAILURE() << engine.error().Message();
    return nullptr;
  }
  const Status loaded = (*engine)->LoadParameters(PolicyVersion{1}, config, parameters);
  if (!loaded) ADD_FAILURE() << loaded.error().Message();
  return std::move(*engine);
}

// Samples exactly `count` tokens.
class CountEpisode final : public Episode {
 public:
  explicit CountEpisode(int64_t count) : count_(count) {}
  int64_t max_tokens() const override { return count_; }
  NextAction Next() override {
    if (seen_ < count_) return {};
    return {.kind = NextAction::Kind::kFinish, .ids = {}, .slot = {}, .finish = FinishReason::kStop};
  }
  Status Append(int32_t, Origin) override { return ++seen_, Status{}; }
  Status Finish(Trace& trace, const TraceReadings&) override {
    trace.spans = {{Origin::kPolicy, Segment::kAnswer, 0, 0, static_cast<int32_t>(trace.tokens_T.size())}};
    return {};
  }

 private:
  int64_t count_, seen_ = 0;
};
inline EpisodeFactory CountTokens() {
  return
      [](const SamplingOptions& sampling) -> std::unique_ptr<Episode> { return std::make_unique<CountEpisode>(sampling.max_new_tokens); };
}

}  // namespace candor
