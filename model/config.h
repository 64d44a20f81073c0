// What a decoder is made of, read once from config.json (and generation_config.json) of a Hugging Face folder. Families: llama, qwen2,
// qwen3. What Candor cannot compute exactly is refused here, by the name of the field, so that the rest of the code never meets it.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

enum class Family : uint8_t { kLlama = 0, kQwen2 = 1, kQwen3 = 2 };
const char* Name(Family family);  // as in config.json's model_type

// Llama 3's frequency scaling ("rope_type": "llama3").
struct Llama3Rope {
  double factor = 8.0;
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  double original_max_positions = 8192.0;
};

struct ModelConfig {
  Family family = Family::kLlama;
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;  // a multiple of 16, at most 256
  int64_t max_positions = 0;
  double rms_norm_eps = 1e-6;
  double rope_theta = 10000.0;
  std::optional<Llama3Rope> llama3_rope;
  bool tie_embeddings = false;
  bool qkv_bias = false;
  bool out_bias = false;  // bias of the attention's output projection
  bool mlp_bias = false;
  bool qk_norm = false;  // RMSNorm over each head of q and k (Qwen3)
  std::optional<int32_t> bos_id;
  std::optional<int32_t> pad_id;
  std::vector<int32_t> eos_ids;  // generation_config.json's when it has them, else config.json's
  std::string source_json;       // config.json as read; "" for a config made in memory

  int64_t query_size() const { return num_heads * head_dim; }
  int64_t kv_size() const { return num_kv_heads * head_dim; }
};

// Reads FOLDER/config.json and, where present, FOLDER/generation_config.json.
Result<ModelConfig> ReadModelConfig(const std::string& folder);
// `generation_json` may be empty; `where` names the source in errors.
Result<ModelConfig> ParseModelConfig(const std::string& config_json, const std::string& generation_json, const std::string& where);
// Sizes that fit together: used by the parser and by whoever makes a config in memory.
Status CheckModelConfig(const ModelConfig& config, const std::string& where);
// config.json for Hugging Face: source_json with dtype replaced ("bfloat16", "float32"), or made from the fields.
std::string ConfigJson(const ModelConfig& config, const std::string& dtype);

}  // namespace candor
