// config.json and generation_config.json -> ModelConfig, and back.
#include "model/config.h"

#include <fstream>
#include <sstream>

#include "core/json_depth.h"
#include "model/family.h"

namespace candor {

const char* Name(Family family) { return GetFamily(family).model_type; }

const DecoderFamily& GetFamily(Family family) {
  switch (family) {
    case Family::kQwen2:
      return kQwen2Family;
    case Family::kQwen3:
      return kQwen3Family;
    case Family::kLlama:
      break;
  }
  return kLlamaFamily;
}

void FieldReader::Refuse(const std::string& what, const std::string& field, const std::string& fix) {
  if (!error_) error_ = Error{ErrorCode::kInvalidInput, what, where_ + ": " + field, fix, false};
}

int64_t FieldReader::Int(const char* name, std::optional<int64_t> fallback) {
  if (!Has(name)) {
    if (!fallback) Refuse(std::string("the field '") + name + "' is missing", name, "use a complete config.json");
    return fallback.value_or(0);
  }
  if (!json_[name].is_number_integer()) Refuse(std::string("'") + name + "' must be an integer", name, "");
  return error_ ? 0 : json_[name].get<int64_t>();
}

double FieldReader::Double(const char* name, std::optional<double> fallback) {
  if (!Has(name)) {
    if (!fallback) Refuse(std::string("the field '") + name + "' is missing", name, "use a complete config.json");
    return fallback.value_or(0.0);
  }
  if (!json_[name].is_number()) Refuse(std::string("'") + name + "' must be a number", name, "");
  return error_ ? 0.0 : json_[name].get<double>();
}

bool FieldReader::Bool(const char* name, bool fallback) {
  if (!Has(name)) return fallback;
  if (!json_[name].is_boolean()) Refuse(std::string("'") + name + "' must be true or false", name, "");
  return error_ ? fallback : json_[name].get<bool>();
}

std::string FieldReader::String(const char* name, const std::string& fallback) {
  if (!Has(name)) return fallback;
  if (!json_[name].is_string()) Refuse(std::string("'") + name + "' must be a string", name, "");
  return error_ ? fallback : json_[name].get<std::string>();
}

namespace {

// Positions: "rope_theta" + "rope_scaling" (older files) or one "rope_parameters" object (newer ones).
void ReadRope(FieldReader& reader, ModelConfig& config) {
  config.rope_theta = reader.Double("rope_theta", 10000.0);
  const nlohmann::json none = nlohmann::json::object();
  const char* field = reader.Has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  const nlohmann::json& rope = reader.Has(field) ? reader.json()[field] : none;
  if (!rope.is_object()) return reader.Refuse(std::string("'") + field + "' must be an object or null", field, "");
  FieldReader scaling(rope, reader.where() + ": " + field);
  const std::string type = scaling.String("rope_type", scaling.String("type", "default"));
  config.rope_theta = scaling.Double("rope_theta", config.rope_theta);
  if (type == "llama3") {
    Llama3Rope llama3;
    llama3.factor = scaling.Double("factor");
    llama3.low_freq_factor = scaling.Double("low_freq_factor");
    llama3.high_freq_factor = scaling.Double("high_freq_factor");
    llama3.original_max_positions = scaling.Double("original_max_position_embeddings");
    config.llama3_rope = llama3;
  } else if (type != "default") {
    scaling.Refuse("rope scaling '" + type + "' is not supported", "rope_type", "supported: default (none) and llama3");
  }
  if (auto status = scaling.status(); !status) reader.Refuse(status.error().what, field, status.error().fix);
}

// An id or a list of ids.
void ReadIds(FieldReader& reader, const char* name, std::vector<int32_t>& ids) {
  if (!reader.Has(name)) return;
  const nlohmann::json& value = reader.json()[name];
  ids.clear();
  for (const nlohmann::json& id : value.is_array() ? value : nlohmann::json::array({value})) {
    if (!id.is_number_integer()) return reader.Refuse(std::string("'") + name + "' must be a token id or a list of token ids", name, "");
    const int64_t number = id.get<int64_t>();
    if (!(0 <= number && number <= INT32_MAX)) return reader.Refuse(std::string("'") + name + "' holds an id out of range", name, "");
    ids.push_back(static_cast<int32_t>(number));
  }
}

void ReadSpecialIds(FieldReader& reader, ModelConfig& config) {
  std::vector<int32_t> ids;
  ReadIds(reader, "eos_token_id", config.eos_ids);
  ReadIds(reader, "bos_token_id", ids);
  if (!ids.empty()) config.bos_id = ids[0];
  ids.clear();
  ReadIds(reader, "pad_token_id", ids);
  if (!ids.empty()) config.pad_id = ids[0];
}

void ReadCommon(FieldReader& reader, ModelConfig& config) {
  config.vocab_size = reader.Int("vocab_size");
  config.hidden_size = reader.Int("hidden_size");
  config.intermediate_size = reader.Int("intermediate_size");
  config.num_layers = reader.Int("num_hidden_layers");
  config.num_heads = reader.Int("num_attention_heads");
  config.num_kv_heads = reader.Int("num_key_value_heads", config.num_heads);
  config.head_dim = reader.Int("head_dim", config.num_heads > 0 ? config.hidden_size / config.num_heads : 0);
  config.max_positions = reader.Int("max_position_embeddings", 2048);
  config.rms_norm_eps = reader.Double("rms_norm_eps", 1e-6);
  config.tie_embeddings = reader.Bool("tie_word_embeddings", false);
  const std::string activation = reader.String("hidden_act", "silu");
  if (activation != "silu") reader.Refuse("activation '" + activation + "' is not supported", "hidden_act", "supported: silu");
  ReadRope(reader, config);
  ReadSpecialIds(reader, config);
}

Result<nlohmann::json> ParseObject(const std::string& text, const std::string& where) {
  if (BracketDepth(text) > kMaxJsonDepth)
    return Fail(ErrorCode::kInvalidInput, "nested deeper than " + std::to_string(kMaxJsonDepth) + " levels", where,
                "the file is damaged or not a Hugging Face config");
  nlohmann::json json = nlohmann::json::parse(text, nullptr, false);
  if (!json.is_object())
    return Fail(ErrorCode::kInvalidInput, "not a JSON object", where, "the file is damaged or not a Hugging Face config");
  return json;
}

}  // namespace

Status CheckModelConfig(const ModelConfig& c, const std::string& where) {
  constexpr int64_t kMaxExtent = int64_t{1} << 24;  // far above any decoder; keeps products of sizes inside 64 bits
  const auto check = [&](int64_t value, const char* field) -> Status {
    if (1 <= value && value <= kMaxExtent) return {};
    return Fail(ErrorCode::kInvalidInput,
                std::string("'") + field + "' is " + std::to_string(value) + ", outside 1.." + std::to_string(kMaxExtent),
                where + ": " + field);
  };
  CANDOR_TRY(check(c.vocab_size, "vocab_size"));
  CANDOR_TRY(check(c.hidden_size, "hidden_size"));
  CANDOR_TRY(check(c.intermediate_size, "intermediate_size"));
  CANDOR_TRY(check(c.num_layers, "num_hidden_layers"));
  CANDOR_TRY(check(c.num_heads, "num_attention_heads"));
  CANDOR_TRY(check(c.num_kv_heads, "num_key_value_heads"));
  CANDOR_TRY(check(c.max_positions, "max_position_embeddings"));
  if (c.num_heads % c.num_kv_heads != 0) {
    return Fail(ErrorCode::kInvalidInput, "num_attention_heads must be a multiple of num_key_value_heads", where + ": num_key_value_heads");
  }
  if (!(16 <= c.head_dim && c.head_dim <= 256 && c.head_dim % 16 == 0)) {
    return Fail(ErrorCode::kInvalidInput, "a head size of " + std::to_string(c.head_dim) + " is not supported", where + ": head_dim",
                "supported: multiples of 16 up to 256");
  }
  if (!(c.rms_norm_eps > 0.0 && c.rms_norm_eps < 1.0))
    return Fail(ErrorCode::kInvalidInput, "rms_norm_eps must lie in (0, 1)", where + ": rms_norm_eps");
  if (!(c.rope_theta > 1.0 && c.rope_theta < 1e12))
    return Fail(ErrorCode::kInvalidInput, "rope_theta must lie in (1, 1e12)", where + ": rope_theta");
  if (c.llama3_rope) {
    const Llama3Rope& rope = *c.llama3_rope;
    if (!(rope.factor >= 1.0 && rope.low_freq_factor > 0.0 && rope.high_freq_factor > rope.low_freq_factor &&
          rope.original_max_positions >= 1.0)) {
      return Fail(ErrorCode::kInvalidInput, "llama3 rope scaling needs factor >= 1 and 0 < low_freq_factor < high_freq_factor",
                  where + ": rope_scaling");
    }
  }
  for (int32_t id : c.eos_ids) {
    if (id >= c.vocab_size)
      return Fail(ErrorCode::kInvalidInput, "end token " + std::to_string(id) + " is outside the vocabulary", where + ": eos_token_id");
  }
  return {};
}

Result<ModelConfig> ParseModelConfig(const std::string& config_json, const std::string& generation_json, const std::string& where) {
  CANDOR_ASSIGN(const nlohmann::json json, ParseObject(config_json, where));
  FieldReader reader(json, where);
  ModelConfig config;
  config.source_json = config_json;
  const std::string type = reader.String("model_type", "");
  bool known = false;
  for (Family family : {Family::kLlama, Family::kQwen2, Family::kQwen3}) {
    if (type != GetFamily(family).model_type) continue;
    config.family = family;
    known = true;
  }
  if (!known)
    return Fail(ErrorCode::kInvalidInput, "model type '" + type + "' is not supported", where + ": model_type",
                "supported: llama, qwen2, qwen3");
  ReadCommon(reader, config);
  GetFamily(config.family).read_fields(reader, config);
  CANDOR_TRY(reader.status());
  if (!generation_json.empty()) {
    CANDOR_ASSIGN(const nlohmann::json generation, ParseObject(generation_json, where + " (generation_config.json)"));
    FieldReader generation_reader(generation, where + " (generation_config.json)");
    ReadSpecialIds(generation_reader, config);
    CANDOR_TRY(generation_reader.status());
  }
  CANDOR_TRY(CheckModelConfig(config, where));
  return config;
}

Result<ModelConfig> ReadModelConfig(const std::string& folder) {
  const auto read = [](const std::string& path) -> std::optional<std::string> {
    std::ifstream file(path, std::ios::binary);
    if (!file) return std::nullopt;
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  };
  const std::string path = folder + "/config.json";
  const std::optional<std::string> config = read(path);
  if (!config) {
    return Fail(ErrorCode::kNotFound, "no config.json in the model folder", path,
                "a model is a Hugging Face folder with config.json, tokenizer.json and model.safetensors");
  }
  return ParseModelConfig(*config, read(folder + "/generation_config.json").value_or(""), path);
}

static nlohmann::json ConfigFromFields(const ModelConfig& config) {
  const DecoderFamily& family = GetFamily(config.family);
  nlohmann::json json = {{"architectures", {family.architecture}},
                         {"model_type", family.model_type},
                         {"hidden_act", "silu"},
                         {"vocab_size", config.vocab_size},
                         {"hidden_size", config.hidden_size},
                         {"intermediate_size", config.intermediate_size},
                         {"num_hidden_layers", config.num_layers},
                         {"num_attention_heads", config.num_heads},
                         {"num_key_value_heads", config.num_kv_heads},
                         {"head_dim", config.head_dim},
                         {"max_position_embeddings", config.max_positions},
                         {"rms_norm_eps", config.rms_norm_eps},
                         {"rope_theta", config.rope_theta},
                         {"rope_scaling", nullptr},
                         {"tie_word_embeddings", config.tie_embeddings},
                         {"attention_dropout", 0.0},
                         {"use_cache", true}};
  if (config.llama3_rope) {
    json["rope_scaling"] = {{"rope_type", "llama3"},
                            {"factor", config.llama3_rope->factor},
                            {"low_freq_factor", config.llama3_rope->low_freq_factor},
                            {"high_freq_factor", config.llama3_rope->high_freq_factor},
                            {"original_max_position_embeddings", static_cast<int64_t>(config.llama3_rope->original_max_positions)}};
  }
  if (config.bos_id) json["bos_token_id"] = *config.bos_id;
  if (config.pad_id) json["pad_token_id"] = *config.pad_id;
  if (config.eos_ids.size() == 1) json["eos_token_id"] = config.eos_ids[0];
  if (config.eos_ids.size() > 1) json["eos_token_id"] = config.eos_ids;
  family.write_fields(config, json);
  return json;
}

std::string ConfigJson(const ModelConfig& config, const std::string& dtype) {
  nlohmann::json json = config.source_json.empty() ? ConfigFromFields(config) : nlohmann::json::parse(config.source_json, nullptr, false);
  json["dtype"] = dtype;
  json["torch_dtype"] = dtype;  // the name that transformers before version 5 reads
  return json.dump(2) + "\n";
}

}  // namespace candor
