// The parameters of a policy in units: the pieces that sharding gathers, frees and reduces. A unit's parameters lie one after the other,
// without gaps, in one flat 1-D tensor in the order of its spec; q, k, v (and gate, up) are neighbours, so one product serves all three
// without copying. The model knows no rank: who holds which slice of a flat tensor is the trainer's business.
//
// Units in order of use: 0 "embedding" (when tied it is the head as well), 1..L "layers.0".., L+1 "final_norm", and "head" (L+2) only when
// it is not tied.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "model/config.h"

namespace candor {

struct ParamSpec {
  std::string name;            // as in the Hugging Face checkpoint
  std::vector<int64_t> shape;  // row major
  int64_t offset = 0;          // elements from the start of the unit's flat tensor
  int64_t Count() const;
};

struct UnitSpec {
  std::string name;
  std::vector<ParamSpec> params;
  int64_t Count() const;  // elements of the flat tensor
};

std::vector<UnitSpec> PlanUnits(const ModelConfig& config);
int64_t CountParameters(const ModelConfig& config);

inline size_t EmbeddingUnit() { return 0; }
inline size_t BlockUnit(int64_t layer) { return static_cast<size_t>(layer) + 1; }
inline size_t FinalNormUnit(const ModelConfig& config) { return static_cast<size_t>(config.num_layers) + 1; }
inline size_t HeadUnit(const ModelConfig& config) { return config.tie_embeddings ? 0 : static_cast<size_t>(config.num_layers) + 2; }

}  // namespace candor
