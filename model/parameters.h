// The parameters of one policy in memory: one flat tensor per unit (units.h) and named views into them.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "model/aten.h"
#include "model/units.h"

namespace candor {

class Parameters {
 public:
  Parameters() = default;
  // Flat tensors of zeros in the layout of PlanUnits(config).
  Parameters(const ModelConfig& config, at::ScalarType dtype);

  const std::vector<UnitSpec>& units() const { return units_; }
  size_t unit_count() const { return units_.size(); }
  at::ScalarType dtype() const { return dtype_; }
  // The 1-D tensor of a unit; writing through it changes the parameters.
  const at::Tensor& Flat(size_t unit) const { return flats_[unit]; }
  // A view by Hugging Face name; aborts for a name that is not in the plan.
  at::Tensor Get(const std::string& name) const;
  bool Has(const std::string& name) const { return places_.count(name) != 0; }
  std::vector<std::string> Names() const;  // in the order of the units
  // A copy in another number format (rounded to nearest even); the same format copies too.
  Parameters Cast(at::ScalarType dtype) const;
  // The same on a device; flat tensors that are there already are shared, not copied.
  Parameters To(const at::Device& device) const;

 private:
  struct Place {
    size_t unit;
    size_t param;
  };
  std::vector<UnitSpec> units_;
  std::vector<at::Tensor> flats_;
  std::map<std::string, Place> places_;
  at::ScalarType dtype_ = at::kFloat;
};

// Weights ~ N(0, 0.02) (norms 1, biases small), a pure function of (seed, unit, param, index); for tests and tiny recipes.
Parameters RandomParameters(const ModelConfig& config, uint64_t seed, at::ScalarType dtype, double scale = 0.02);
// Reads model.safetensors or the files of model.safetensors.index.json. A missing, extra or mis-shaped tensor is an error that names tensor
// and file.
Result<Parameters> LoadParameters(const std::string& folder, const ModelConfig& config, at::ScalarType dtype);
// Writes model.safetensors, or shards of at most `shard_bytes` with an index. Each file appears atomically.
Status SaveParameters(const Parameters& parameters, const std::string& folder, int64_t shard_bytes = 5'000'000'000);

}  // namespace candor
