// Qwen2 and Qwen2.5: as Llama with biases on q, k and v, always.
#include "model/family.h"

namespace candor {

static void ReadFields(FieldReader& reader, ModelConfig& config) {
  config.qkv_bias = true;
  if (reader.Bool("use_sliding_window", false)) {
    reader.Refuse("sliding-window attention is not supported", "use_sliding_window", "use a checkpoint with use_sliding_window = false");
  }
}

static void WriteFields(const ModelConfig&, nlohmann::json& json) { json["use_sliding_window"] = false; }

static void ListBlock(const ModelConfig& c, ParamList& params) {
  const int64_t hidden = c.hidden_size, inner = c.intermediate_size;
  params.Add("input_layernorm.weight", {hidden});
  params.Add("self_attn.q_proj.weight", {c.query_size(), hidden});
  params.Add("self_attn.k_proj.weight", {c.kv_size(), hidden});
  params.Add("self_attn.v_proj.weight", {c.kv_size(), hidden});
  params.Add("self_attn.q_proj.bias", {c.query_size()});
  params.Add("self_attn.k_proj.bias", {c.kv_size()});
  params.Add("self_attn.v_proj.bias", {c.kv_size()});
  params.Add("self_attn.o_proj.weight", {hidden, c.query_size()});
  params.Add("post_attention_layernorm.weight", {hidden});
  params.Add("mlp.gate_proj.weight", {inner, hidden});
  params.Add("mlp.up_proj.weight", {inner, hidden});
  params.Add("mlp.down_proj.weight", {hidden, inner});
}

const DecoderFamily kQwen2Family = {"qwen2", "Qwen2ForCausalLM", ReadFields, WriteFields, ListBlock};

}  // namespace candor
