// config.json: what is read, and what is refused by the name of its field.
#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

nlohmann::json Llama() {
  return {{"model_type", "llama"},  {"vocab_size", 100},        {"hidden_size", 64},        {"intermediate_size", 96},
          {"num_hidden_layers", 3}, {"num_attention_heads", 4}, {"num_key_value_heads", 2}, {"max_position_embeddings", 512},
          {"rms_norm_eps", 1e-5},   {"rope_theta", 5e5},        {"eos_token_id", 2},        {"bos_token_id", 1}};
}

TEST(ModelConfig, ReadsTheFieldsOfAllFamilies) {
  auto llama = ParseModelConfig(Llama().dump(), R"({"eos_token_id": [2, 7], "pad_token_id": 0})", "config.json");
  ASSERT_TRUE(llama) << llama.error().Message();
  EXPECT_EQ(llama->head_dim, 16);
  EXPECT_EQ(llama->rope_theta, 5e5);
  EXPECT_EQ(llama->eos_ids, (std::vector<int32_t>{2, 7})) << "generation_config.json wins";
  EXPECT_EQ(llama->pad_id, 0);
  EXPECT_FALSE(llama->qkv_bias || llama->qk_norm || llama->tie_embeddings);
  nlohmann::json json = Llama();
  json["model_type"] = "qwen2";
  EXPECT_TRUE(ParseModelConfig(json.dump(), "", "c")->qkv_bias);
  json["model_type"] = "qwen3";
  json["head_dim"] = 32;
  json["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", 1e6}};
  auto qwen3 = ParseModelConfig(json.dump(), "", "c");
  ASSERT_TRUE(qwen3) << qwen3.error().Message();
  EXPECT_TRUE(qwen3->qk_norm);
  EXPECT_EQ(qwen3->query_size(), 128);
  EXPECT_EQ(qwen3->rope_theta, 1e6);
}

TEST(ModelConfig, RefusesByNameWhatItCannotCompute) {
  const std::vector<std::pair<std::string, nlohmann::json>> cases = {
      {"model_type", "gemma"}, {"hidden_act", "gelu"},       {"rope_scaling", {{"rope_type", "yarn"}, {"factor", 4.0}}},
      {"head_dim", 20},        {"num_key_value_heads", 3},   {"hidden_size", nullptr},
      {"vocab_size", -5},      {"num_hidden_layers", "two"}, {"rms_norm_eps", 0.0},
      {"eos_token_id", 100},   {"eos_token_id", "x"},        {"tie_word_embeddings", 1}};
  for (const auto& [field, value] : cases) {
    nlohmann::json json = Llama();
    json[field] = value;
    auto config = ParseModelConfig(json.dump(), "", "the.json");
    ASSERT_FALSE(config) << field << " = " << value;
    EXPECT_NE(config.error().Message().find(field), std::string::npos) << config.error().Message();
    EXPECT_NE(config.error().Message().find("the.json"), std::string::npos) << config.error().Message();
  }
  nlohmann::json qwen = Llama();
  qwen["model_type"] = "qwen2";
  qwen["use_sliding_window"] = true;
  EXPECT_NE(ParseModelConfig(qwen.dump(), "", "c").error().Message().find("use_sliding_window"), std::string::npos);
  EXPECT_FALSE(ParseModelConfig("[]", "", "c"));
  EXPECT_FALSE(ParseModelConfig("{", "", "c"));
}

TEST(ModelConfig, WritesWhatItReads) {
  for (Family family : {Family::kLlama, Family::kQwen2, Family::kQwen3}) {
    ModelConfig config = TinyConfig(family);
    config.llama3_rope = Llama3Rope{};
    auto again = ParseModelConfig(ConfigJson(config, "float32"), "", "c");
    ASSERT_TRUE(again) << again.error().Message();
    EXPECT_EQ(ConfigJson(*again, "float32"), ConfigJson(config, "float32"));
    EXPECT_EQ(again->qk_norm, config.qk_norm);
    EXPECT_EQ(again->llama3_rope->factor, 8.0);
  }
}

TEST(Units, CoverEveryParameterWithoutGaps) {
  for (bool tied : {true, false}) {
    ModelConfig config = TinyConfig(Family::kQwen3);
    config.tie_embeddings = tied;
    const std::vector<UnitSpec> units = PlanUnits(config);
    EXPECT_EQ(units.size(), tied ? 4u : 5u);
    EXPECT_EQ(units[HeadUnit(config)].name, tied ? "embedding" : "head");
    EXPECT_EQ(units[FinalNormUnit(config)].name, "final_norm");
    for (const UnitSpec& unit : units) {
      int64_t next = 0;
      for (const ParamSpec& param : unit.params) {
        EXPECT_EQ(param.offset, next) << param.name;
        next += param.Count();
      }
      EXPECT_EQ(unit.Count(), next);
    }
  }
}

}  // namespace
}  // namespace candor
