// A policy as a Hugging Face folder that `transformers` loads: config.json, generation_config.json, safetensors, the tokenizer's files byte
// for byte, a model card, and, when the policy has a confidence slot, confidence.json with a short script that reads it.
#pragma once
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/parameters.h"

namespace candor {

// How the trained confidence is read: the reply runs until `reply_end` is closed, the tokens of `after` (the slot's prefix) are appended,
// and at the next position c = sigmoid(z_high - z_low) on raw fp32 logits; with recalibration, sigmoid(a x + b) of that logit x.
struct ConfidenceSpec {
  int32_t high_id = 0;
  int32_t low_id = 0;
  std::string high_token, low_token;
  std::string after = "\n<confidence>";  // kSlotPrefix (text/tags.h)
  std::string reply_end = "</answer>";
  std::string system_prompt;
  struct Recalibration {
    double a = 1.0;
    double b = 0.0;
  };
  std::optional<Recalibration> recalibration;
};
std::string ConfidenceJson(const ConfidenceSpec& spec);
Result<ConfidenceSpec> ParseConfidenceJson(const std::string& text, const std::string& where);
// FOLDER/confidence.json; nullopt where there is none.
Result<std::optional<ConfidenceSpec>> ReadConfidenceSpec(const std::string& folder);

struct ModelCard {
  std::string name;
  std::string base_model;  // "" when unknown
  std::string license;
  std::vector<std::string> datasets;
  std::map<std::string, double> metrics;  // accuracy, brier, ece, ...
  std::string recipe_toml;                // shown in the card when not empty
};

struct PolicyFolderOptions {
  std::string tokenizer_folder;  // where tokenizer files are copied from
  std::optional<ConfidenceSpec> confidence;
  ModelCard card;
  int64_t shard_bytes = 5'000'000'000;
};
// Writes `folder`. It must not exist, be empty, or be a policy folder that Candor made (candor.json says so). Complete or not there: it is
// written beside and renamed. What writers that were killed on this machine left beside it is removed.
Status WritePolicyFolder(const std::string& folder, const ModelConfig& config, const Parameters& parameters,
                         const PolicyFolderOptions& options);

}  // namespace candor
