// Views of units, the embedding, rotary tables and the final norm. The block itself is block.cc.
#include "model/decoder.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "core/check.h"
#include "model/device.h"
#include "model/family.h"
#include "model/kernels/kernels.h"
#include "model/large_pages.h"
#include "model/norm.h"
#include "model/packed_linear.h"
#include "model/parallel.h"
#include "model/portable/portable.h"

namespace candor {

// Angles are computed as Hugging Face does: inverse frequencies in fp32, angle = position * frequency in fp32, cosine and sine rounded
// once.
RopeTable::RopeTable(const ModelConfig& config) {
  const int64_t half = config.head_dim / 2;
  inverse_frequency_.resize(static_cast<size_t>(half));
  for (int64_t i = 0; i < half; ++i) {
    const float exponent = static_cast<float>(2 * i) / static_cast<float>(config.head_dim);
    float frequency = 1.0f / std::pow(static_cast<float>(config.rope_theta), exponent);
    if (config.llama3_rope) {
      const Llama3Rope& rope = *config.llama3_rope;
      const double wavelength = 2.0 * std::numbers::pi / frequency;
      const double low = rope.original_max_positions / rope.low_freq_factor, high = rope.original_max_positions / rope.high_freq_factor;
      if (wavelength > low) {
        frequency = static_cast<float>(frequency / rope.factor);
      } else if (wavelength >= high) {
        const double smooth =
            (rope.original_max_positions / wavelength - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
        frequency = static_cast<float>((1.0 - smooth) * frequency / rope.factor + smooth * frequency);
      }
    }
    inverse_frequency_[static_cast<size_t>(i)] = frequency;
  }
}

void RopeTable::Reserve(int64_t positions) {
  if (positions <= positions_) return;
  const auto half = static_cast<int64_t>(inverse_frequency_.size());
  const int64_t target = std::max(positions, 2 * positions_);
  cos_.resize(static_cast<size_t>(target * half));
  sin_.resize(static_cast<size_t>(target * half));
  for (int64_t position = positions_; position < target; ++position) {
    for (int64_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(position) * inverse_frequency_[static_cast<size_t>(i)];
      cos_[static_cast<size_t>(position * half + i)] = static_cast<float>(std::cos(static_cast<double>(angle)));
      sin_[static_cast<size_t>(position * half + i)] = static_cast<float>(std::sin(static_cast<double>(angle)));
    }
  }
  positions_ = target;
  device_cos_ = device_sin_ = at::Tensor();
}

const portable::Angles& RopeTable::RowsOn(const at::Device& device, const std::vector<int32_t>& positions_N) {
  const bool known = device_cos_.defined() && device_cos_.device() == device;
  if (known && rows_.cos_Nh.defined() && positions_N == rows_positions_N_) return rows_;
  if (!known) {
    const auto upload = [&](std::vector<float>& table) {
      return at::from_blob(table.data(), {positions_, static_cast<int64_t>(inverse_frequency_.size())}, at::kFloat)
          .to(device, at::kFloat, false, true);
    };
    device_cos_ = upload(cos_), device_sin_ = upload(sin_);
  }
  const at::Tensor index_N = ToDevice(positions_N, device);
  rows_ = {device_cos_.index_select(0, index_N), device_sin_.index_select(0, index_N)};
  rows_positions_N_ = positions_N;
  return rows_;
}

namespace {

// Views of a unit's parameters by the ends of their names.
class UnitViews {
 public:
  UnitViews(std::vector<ParamSpec> params, const at::Tensor& flat) : params_(std::move(params)), flat_(flat) {
    CANDOR_CHECK(flat.dim() == 1 && flat.is_contiguous());
    CANDOR_CHECK(flat.size(0) >= params_.back().offset + params_.back().Count(), "the flat tensor is shorter than its unit");
  }
  at::Tensor Get(const std::string& end) const { return Fused({end}); }
  // Parameters that follow each other, as one tensor with their rows together; undefined when they are not there.
  at::Tensor Fused(const std::vector<std::string>& ends) const {
    int64_t rows = 0, columns = 0, offset = -1, next = -1;
    for (const std::string& end : ends) {
      const ParamSpec* param = Find(end);
      if (!param) return {};
      if (offset < 0) offset = next = param->offset;
      CANDOR_CHECK(param->offset == next, "fused parameters are neighbours");
      next += param->Count();
      rows += param->shape[0];
      columns = param->shape.size() == 2 ? param->shape[1] : 0;
    }
    const at::Tensor part = flat_.narrow(0, offset, next - offset);
    return columns > 0 ? part.view({rows, columns}) : part;
  }

 private:
  const ParamSpec* Find(const std::string& end) const {
    for (const ParamSpec& param : params_) {
      if (param.name.ends_with("." + end)) return &param;
    }
    return nullptr;
  }
  std::vector<ParamSpec> params_;
  at::Tensor flat_;
};

}  // namespace

BlockWeights BindBlock(const ModelConfig& config, int64_t layer, const at::Tensor& flat) {
  ParamList params("layer.");
  GetFamily(config.family).list_block(config, params);
  const UnitViews views(params.Take(), flat);
  BlockWeights weights;
  weights.layer = layer;
  weights.attention_norm_D = views.Get("input_layernorm.weight");
  weights.qkv = {
      views.Fused({"q_proj.weight", "k_proj.weight", "v_proj.weight"}), views.Fused({"q_proj.bias", "k_proj.bias", "v_proj.bias"}), {}};
  weights.q_norm_d = views.Get("q_norm.weight");
  weights.k_norm_d = views.Get("k_norm.weight");
  weights.out = {views.Get("o_proj.weight"), views.Get("o_proj.bias"), {}};
  weights.mlp_norm_D = views.Get("post_attention_layernorm.weight");
  weights.gate_up = {views.Fused({"gate_proj.weight", "up_proj.weight"}), views.Fused({"gate_proj.bias", "up_proj.bias"}), {}};
  weights.down = {views.Get("down_proj.weight"), views.Get("down_proj.bias"), {}};
  return weights;
}

at::Tensor BindEmbedding(const ModelConfig& config, const at::Tensor& flat) {
  return flat.narrow(0, 0, config.vocab_size * config.hidden_size).view({config.vocab_size, config.hidden_size});
}
at::Tensor BindFinalNorm(const ModelConfig& config, const at::Tensor& flat) { return flat.narrow(0, 0, config.hidden_size); }
Linear BindHead(const ModelConfig& config, const at::Tensor& flat) { return {BindEmbedding(config, flat), {}, {}}; }

// For the matrix unit where it can be, all in one piece of memory; otherwise each product as PackLinear does.
static void PackDecoder(DecoderWeights& weights, const Numerics& numerics, int64_t rows) {
  std::vector<Linear*> tiled;
  const auto pack = [&](Linear& linear) {
    if (!numerics.deterministic && CanPackTiles(linear))
      tiled.push_back(&linear);
    else if (&linear != &weights.head || linear.weight_OI.scalar_type() == at::kFloat)
      PackLinear(linear, rows, numerics);
  };
  for (BlockWeights& block : weights.blocks_L)
    for (Linear* linear : {&block.qkv, &block.out, &block.gate_up, &block.down}) pack(*linear);
  pack(weights.head);
  int64_t elements = 0;
  for (const Linear* linear : tiled) elements += TileElements(*linear);
  if (tiled.empty()) return;
  const at::Tensor memory = LargePages(elements);
  int64_t offset = 0;
  const auto is_gate_up = [&](const Linear* linear) {
    return std::any_of(weights.blocks_L.begin(), weights.blocks_L.end(),
                       [&](const BlockWeights& block) { return &block.gate_up == linear; });
  };
  for (Linear* linear : tiled) {
    const int64_t size = TileElements(*linear);
    PackTiles(*linear, is_gate_up(linear) && CanPackSwiGlu(*linear), memory.narrow(0, offset, size));
    offset += size;
  }
}

DecoderWeights BindDecoder(const ModelConfig& config, const Parameters& parameters, const Numerics& numerics, int64_t pack_rows) {
  DecoderWeights weights;
  weights.embedding_VD = BindEmbedding(config, parameters.Flat(EmbeddingUnit()));
  weights.final_norm_D = BindFinalNorm(config, parameters.Flat(FinalNormUnit(config)));
  weights.head = BindHead(config, parameters.Flat(HeadUnit(config)));
  for (int64_t layer = 0; layer < config.num_layers; ++layer)
    weights.blocks_L.push_back(BindBlock(config, layer, parameters.Flat(BlockUnit(layer))));
  if (pack_rows > 0) PackDecoder(weights, numerics, pack_rows);
  return weights;
}

at::Tensor Embed(const at::Tensor& embedding_VD, const std::vector<int32_t>& ids_N) {
  for (int32_t id : ids_N) CANDOR_CHECK(0 <= id && id < embedding_VD.size(0), "a token id lies outside the vocabulary");
  if (!embedding_VD.is_cpu()) return portable::SelectRowsAsFloat(embedding_VD, ids_N);
  const auto rows = static_cast<int64_t>(ids_N.size());
  const int64_t width = embedding_VD.size(1), bytes = embedding_VD.element_size();
  at::Tensor x_ND = at::empty({rows, width}, embedding_VD.options().dtype(at::kFloat));
  const TypedKernels& kernels = TypedKernelsOf(embedding_VD);
  ParallelRows(rows, width, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const int64_t id = ids_N[static_cast<size_t>(n)];
      kernels.to_float(static_cast<const char*>(embedding_VD.const_data_ptr()) + id * width * bytes,
                       x_ND.mutable_data_ptr<float>() + n * width, width, 1.0f);
    }
  });
  return x_ND;
}

// Threads share columns, so rows of one id are added in the order of the batch.
void EmbedBackward(const at::Tensor& dx_ND, const std::vector<int32_t>& ids_N, const at::Tensor& grad_embedding_VD) {
  if (!dx_ND.is_cpu()) return portable::AddRowsInto(dx_ND, ToDevice(ids_N, dx_ND.device()), grad_embedding_VD);
  const int64_t width = dx_ND.size(1);
  const float* dx = dx_ND.const_data_ptr<float>();
  float* grad = grad_embedding_VD.mutable_data_ptr<float>();
  at::parallel_for(0, width, 64, [&](int64_t begin, int64_t end) {
    for (size_t n = 0; n < ids_N.size(); ++n) {
      const float* from = dx + static_cast<int64_t>(n) * width;
      float* to = grad + static_cast<int64_t>(ids_N[n]) * width;
      for (int64_t i = begin; i < end; ++i) to[i] += from[i];
    }
  });
}

at::Tensor FinalNorm(const ModelConfig& config, const at::Tensor& weight_D, const at::Tensor& x_ND) {
  return RmsNorm(x_ND, weight_D, config.rms_norm_eps, nullptr);
}

at::Tensor FinalNormBackward(const ModelConfig& config, const at::Tensor& weight_D, const at::Tensor& x_ND, const at::Tensor& dy_ND,
                             const at::Tensor& grad_D) {
  at::Tensor rstd_N;
  RmsNorm(x_ND, weight_D, config.rms_norm_eps, &rstd_N);
  at::Tensor dx_ND = at::zeros_like(x_ND);
  AddRmsNormBackward(dy_ND, x_ND, weight_D, rstd_N, dx_ND, grad_D);
  return dx_ND;
}

}  // namespace candor
