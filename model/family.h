// What differs between decoder families: the hyper-parameters in config.json and the parameters of a block. One file per family (llama.cc,
// qwen2.cc, qwen3.cc); the arithmetic of a block (block.cc) is shared and follows the parameters that are there.
#pragma once
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "model/config.h"
#include "model/units.h"

namespace candor {

// Reads fields of a JSON object with errors that name the field; the first error sticks.
class FieldReader {
 public:
  FieldReader(const nlohmann::json& json, std::string where) : json_(json), where_(std::move(where)) {}
  int64_t Int(const char* name, std::optional<int64_t> fallback = std::nullopt);
  double Double(const char* name, std::optional<double> fallback = std::nullopt);
  bool Bool(const char* name, bool fallback);
  std::string String(const char* name, const std::string& fallback);
  bool Has(const char* name) const { return json_.contains(name) && !json_[name].is_null(); }
  const nlohmann::json& json() const { return json_; }
  void Refuse(const std::string& what, const std::string& field, const std::string& fix);
  const std::string& where() const { return where_; }
  Status status() const { return error_ ? Status(Fail(*error_)) : Status(); }

 private:
  const nlohmann::json& json_;
  std::string where_;
  std::optional<Error> error_;
};

// The parameters of a unit in order, with their offsets.
class ParamList {
 public:
  explicit ParamList(std::string prefix) : prefix_(std::move(prefix)) {}
  ParamList& Add(const std::string& name, std::vector<int64_t> shape);
  std::vector<ParamSpec> Take() { return std::move(params_); }

 private:
  std::string prefix_;
  int64_t offset_ = 0;
  std::vector<ParamSpec> params_;
};

struct DecoderFamily {
  const char* model_type;
  const char* architecture;
  // Fields that this family adds to the common ones (biases, norms, sliding windows).
  void (*read_fields)(FieldReader& reader, ModelConfig& config);
  void (*write_fields)(const ModelConfig& config, nlohmann::json& json);
  void (*list_block)(const ModelConfig& config, ParamList& params);
};

extern const DecoderFamily kLlamaFamily, kQwen2Family, kQwen3Family;
const DecoderFamily& GetFamily(Family family);

}  // namespace candor
