// The plan of units from a config: integers only.
#include "model/units.h"

#include "model/family.h"

namespace candor {

int64_t ParamSpec::Count() const {
  int64_t count = 1;
  for (int64_t extent : shape) count *= extent;
  return count;
}

int64_t UnitSpec::Count() const { return params.empty() ? 0 : params.back().offset + params.back().Count(); }

ParamList& ParamList::Add(const std::string& name, std::vector<int64_t> shape) {
  params_.push_back({prefix_ + name, std::move(shape), offset_});
  offset_ += params_.back().Count();
  return *this;
}

std::vector<UnitSpec> PlanUnits(const ModelConfig& config) {
  std::vector<UnitSpec> units;
  units.push_back({"embedding", ParamList("model.").Add("embed_tokens.weight", {config.vocab_size, config.hidden_size}).Take()});
  for (int64_t layer = 0; layer < config.num_layers; ++layer) {
    const std::string name = "layers." + std::to_string(layer);
    ParamList params("model." + name + ".");
    GetFamily(config.family).list_block(config, params);
    units.push_back({name, params.Take()});
  }
  units.push_back({"final_norm", ParamList("model.").Add("norm.weight", {config.hidden_size}).Take()});
  if (!config.tie_embeddings)
    units.push_back({"head", ParamList("").Add("lm_head.weight", {config.vocab_size, config.hidden_size}).Take()});
  return units;
}

int64_t CountParameters(const ModelConfig& config) {
  int64_t count = 0;
  for (const UnitSpec& unit : PlanUnits(config)) count += unit.Count();
  return count;
}

}  // namespace candor
