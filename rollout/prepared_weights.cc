// From an image of published weights to parameters that the engine can swap in.
#include <fmt/format.h>

#include <cstring>

#include "core/fault_point.h"
#include "model/parameters.h"
#include "rollout/engine_impl.h"
#include "weights/version_fetcher.h"

namespace candor {

namespace {

Status SameTensors(const Parameters& parameters, const VersionManifest& manifest) {
  size_t i = 0;
  for (const UnitSpec& unit : parameters.units())
    for (const ParamSpec& param : unit.params) {
      const bool same = i < manifest.tensors.size() && manifest.tensors[i].name == param.name && manifest.tensors[i].shape == param.shape;
      if (!same)
        return Fail(ErrorCode::kInvalidInput,
                    fmt::format("the published weights do not fit their config.json: tensor {} should be {}", i, param.name));
      ++i;
    }
  return {};
}

// The units' flat tensors lie in the image one after the other.
void CopyImage(const WeightImage& image, const Parameters& parameters) {
  uint64_t unit_begin = 0;
  size_t chunk = 0;
  for (size_t unit = 0; unit < parameters.unit_count(); ++unit) {
    const at::Tensor& flat = parameters.Flat(unit);
    const uint64_t unit_end = unit_begin + flat.nbytes();
    for (; chunk < image.chunks.size(); ++chunk) {
      const ContentChunk& place = image.manifest.chunks[chunk];
      const uint64_t begin = std::max(place.offset, unit_begin), end = std::min(place.offset + place.bytes, unit_end);
      if (begin < end)
        std::memcpy(static_cast<char*>(flat.data_ptr()) + (begin - unit_begin), image.chunks[chunk]->data() + (begin - place.offset),
                    end - begin);
      if (place.offset + place.bytes > unit_end) break;  // it goes on in the next unit
    }
    unit_begin = unit_end;
  }
}

}  // namespace

PreparedWeights::PreparedWeights() = default;
PreparedWeights::~PreparedWeights() = default;

Result<std::unique_ptr<PreparedWeights>> PrepareWeights(PolicyVersion version, const WeightImage& image, const std::string& dtype,
                                                        const std::string& device) {
  try {
    auto prepared = std::make_unique<PreparedWeights>();
    prepared->version = version;
    prepared->config = std::make_unique<ModelConfig>();
    CANDOR_ASSIGN(*prepared->config, ParseModelConfig(image.manifest.config, "", "manifest of version " + ToString(version)));
    const at::ScalarType published = image.manifest.dtype == "BF16" ? at::kBFloat16 : at::kFloat;
    Parameters parameters(*prepared->config, published);
    CANDOR_TRY(SameTensors(parameters, image.manifest));
    CopyImage(image, parameters);
    const at::ScalarType wanted = dtype == "bf16" ? at::kBFloat16 : at::kFloat;
    if (wanted != published) parameters = parameters.Cast(wanted);
    prepared->parameters = std::make_unique<Parameters>(parameters.To(at::Device(device)));
    return prepared;
  } catch (const std::exception& error) {
    return Fail(FromException(error, "preparing weights of version " + ToString(version)).error());
  }
}

Status Engine::Swap(std::unique_ptr<PreparedWeights> prepared) {
  try {
    FaultPoint("rollout.load");
    return impl_->Install(prepared->version, *prepared->config, std::move(prepared->parameters));
  } catch (const std::exception& error) {
    return FromException(error, "taking weights of version " + ToString(prepared->version));
  }
}

}  // namespace candor
