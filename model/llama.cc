// Llama (Llama 2, Llama 3 and its children such as SmolLM2): RMSNorm, rotary positions with optional llama3 frequency scaling, grouped
// queries, SwiGLU; biases only on request.
#include "model/family.h"

namespace candor {

static void ReadFields(FieldReader& reader, ModelConfig& config) {
  config.qkv_bias = config.out_bias = reader.Bool("attention_bias", false);
  config.mlp_bias = reader.Bool("mlp_bias", false);
}

static void WriteFields(const ModelConfig& config, nlohmann::json& json) {
  json["attention_bias"] = config.qkv_bias;
  json["mlp_bias"] = config.mlp_bias;
}

static void ListBlock(const ModelConfig& c, ParamList& params) {
  const int64_t hidden = c.hidden_size, inner = c.intermediate_size;
  params.Add("input_layernorm.weight", {hidden});
  params.Add("self_attn.q_proj.weight", {c.query_size(), hidden});
  params.Add("self_attn.k_proj.weight", {c.kv_size(), hidden});
  params.Add("self_attn.v_proj.weight", {c.kv_size(), hidden});
  if (c.qkv_bias) {
    params.Add("self_attn.q_proj.bias", {c.query_size()});
    params.Add("self_attn.k_proj.bias", {c.kv_size()});
    params.Add("self_attn.v_proj.bias", {c.kv_size()});
  }
  params.Add("self_attn.o_proj.weight", {hidden, c.query_size()});
  if (c.out_bias) params.Add("self_attn.o_proj.bias", {hidden});
  params.Add("post_attention_layernorm.weight", {hidden});
  params.Add("mlp.gate_proj.weight", {inner, hidden});
  params.Add("mlp.up_proj.weight", {inner, hidden});
  if (c.mlp_bias) {
    params.Add("mlp.gate_proj.bias", {inner});
    params.Add("mlp.up_proj.bias", {inner});
  }
  params.Add("mlp.down_proj.weight", {hidden, inner});
  if (c.mlp_bias) params.Add("mlp.down_proj.bias", {hidden});
}

const DecoderFamily kLlamaFamily = {"llama", "LlamaForCausalLM", ReadFields, WriteFields, ListBlock};

}  // namespace candor
