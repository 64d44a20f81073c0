// Flat tensors of units: made, read, written.
#include "model/parameters.h"

#include <cmath>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>
#include <numbers>
#include <set>

#include "core/check.h"
#include "core/fs.h"
#include "core/rng.h"
#include "model/safetensors_io.h"

namespace candor {

Parameters::Parameters(const ModelConfig& config, at::ScalarType dtype) : units_(PlanUnits(config)), dtype_(dtype) {
  for (size_t unit = 0; unit < units_.size(); ++unit) {
    flats_.push_back(at::zeros({units_[unit].Count()}, dtype));
    for (size_t param = 0; param < units_[unit].params.size(); ++param) places_[units_[unit].params[param].name] = {unit, param};
  }
}

at::Tensor Parameters::Get(const std::string& name) const {
  const auto place = places_.find(name);
  CANDOR_CHECK(place != places_.end(), "no parameter of that name: " + name);
  const ParamSpec& param = units_[place->second.unit].params[place->second.param];
  return flats_[place->second.unit].narrow(0, param.offset, param.Count()).view(param.shape);
}

std::vector<std::string> Parameters::Names() const {
  std::vector<std::string> names;
  for (const UnitSpec& unit : units_)
    for (const ParamSpec& param : unit.params) names.push_back(param.name);
  return names;
}

Parameters Parameters::Cast(at::ScalarType dtype) const {
  Parameters copy = *this;
  copy.dtype_ = dtype;
  for (at::Tensor& flat : copy.flats_) flat = flat.to(dtype, /*non_blocking=*/false, /*copy=*/true);
  return copy;
}

Parameters Parameters::To(const at::Device& device) const {
  Parameters moved = *this;
  for (at::Tensor& flat : moved.flats_) flat = flat.to(device);
  return moved;
}

Parameters RandomParameters(const ModelConfig& config, uint64_t seed, at::ScalarType dtype, double scale) {
  Parameters parameters(config, at::kFloat);
  for (size_t unit = 0; unit < parameters.unit_count(); ++unit) {
    const UnitSpec& spec = parameters.units()[unit];
    for (size_t param = 0; param < spec.params.size(); ++param) {
      const bool norm = spec.params[param].name.ends_with("norm.weight");
      float* out = parameters.Flat(unit).mutable_data_ptr<float>() + spec.params[param].offset;
      for (int64_t i = 0; i < spec.params[param].Count(); ++i) {
        const auto index = static_cast<uint64_t>(i);
        // Box and Muller; 1 - u lies in (0, 1].
        const double radius = std::sqrt(-2.0 * std::log(1.0 - RandomUnit(seed, RngStream::kInit, unit, param, index, 0)));
        const double normal = radius * std::cos(2.0 * std::numbers::pi * RandomUnit(seed, RngStream::kInit, unit, param, index, 1));
        out[i] = static_cast<float>(norm ? 1.0 + 0.1 * scale * normal : scale * normal);
      }
    }
  }
  return dtype == at::kFloat ? parameters : parameters.Cast(dtype);
}

namespace {

std::string ShapeText(at::IntArrayRef shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) text += (i > 0 ? ", " : "") + std::to_string(shape[i]);
  return text + "]";
}

// Tensors that some checkpoints carry and a policy does not need: a copy of a tied head, saved rotary tables.
bool IsIgnorable(const std::string& name, const ModelConfig& config) {
  return (config.tie_embeddings && name == "lm_head.weight") || name.ends_with(".rotary_emb.inv_freq");
}

Status LoadFile(const std::string& path, const ModelConfig& config, Parameters& parameters, std::set<std::string>& missing) {
  CANDOR_ASSIGN(const std::unique_ptr<SafetensorsFile> file, SafetensorsFile::Open(path));
  for (const auto& [name, tensor] : file->tensors()) {
    if (IsIgnorable(name, config)) continue;
    if (!parameters.Has(name)) {
      return Fail(ErrorCode::kInvalidInput, "tensor '" + name + "' does not belong to a " + Name(config.family) + " model of this config",
                  path, "check that config.json and the weights belong together");
    }
    const at::Tensor target = parameters.Get(name);
    if (tensor.sizes() != target.sizes()) {
      return Fail(
          ErrorCode::kInvalidInput,
          "tensor '" + name + "' has the shape " + ShapeText(tensor.sizes()) + " where config.json asks for " + ShapeText(target.sizes()),
          path, "check that config.json and the weights belong together");
    }
    if (!at::isFloatingType(tensor.scalar_type()))
      return Fail(ErrorCode::kInvalidInput, "tensor '" + name + "' holds integers (quantised weights?)", path, "use bf16 or fp32 weights");
    if (missing.erase(name) == 0) return Fail(ErrorCode::kInvalidInput, "tensor '" + name + "' appears in two files", path);
    // A mapped tensor may lie at any byte: copy it before computing with it.
    at::Tensor aligned = at::empty(tensor.sizes(), tensor.options());
    std::memcpy(aligned.mutable_data_ptr(), tensor.const_data_ptr(), tensor.nbytes());
    at::Tensor place = target;
    place.copy_(aligned);
  }
  return {};
}

}  // namespace

Result<Parameters> LoadParameters(const std::string& folder, const ModelConfig& config, at::ScalarType dtype) {
  CANDOR_ASSIGN(const std::vector<std::string> files, SafetensorsFilesOf(folder));
  Parameters parameters(config, dtype);
  const std::vector<std::string> names = parameters.Names();
  std::set<std::string> missing(names.begin(), names.end());
  for (const std::string& path : files) CANDOR_TRY(LoadFile(path, config, parameters, missing));
  if (!missing.empty()) {
    return Fail(ErrorCode::kInvalidInput,
                "tensor '" + *missing.begin() + "' is missing" +
                    (missing.size() > 1 ? " (and " + std::to_string(missing.size() - 1) + " more)" : ""),
                files[0], "check that config.json and the weights belong together");
  }
  return parameters;
}

namespace {

// Names in order, cut where a file would grow beyond shard_bytes.
std::vector<std::vector<std::string>> PlanShards(const Parameters& parameters, int64_t shard_bytes) {
  std::vector<std::vector<std::string>> shards(1);
  int64_t bytes = 0;
  for (const std::string& name : parameters.Names()) {
    const auto size = static_cast<int64_t>(parameters.Get(name).nbytes());
    if (bytes > 0 && bytes + size > shard_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    bytes += size;
    shards.back().push_back(name);
  }
  return shards;
}

}  // namespace

Status SaveParameters(const Parameters& parameters, const std::string& folder, int64_t shard_bytes) {
  const std::vector<std::vector<std::string>> shards = PlanShards(parameters, shard_bytes);
  nlohmann::ordered_json weight_map;
  size_t total = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    char name[64] = "model.safetensors";
    if (shards.size() > 1) std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    for (const std::string& tensor : shards[i]) {
      tensors.emplace_back(tensor, parameters.Get(tensor));
      weight_map[tensor] = name;
      total += tensors.back().second.nbytes();
    }
    CANDOR_TRY(WriteSafetensors(folder + "/" + name, tensors));
  }
  if (shards.size() == 1) return {};
  return WriteFileAtomic(folder + "/model.safetensors.index.json",
                         nlohmann::ordered_json{{"metadata", {{"total_size", total}}}, {"weight_map", weight_map}}.dump(2) + "\n");
}

}  // namespace candor
