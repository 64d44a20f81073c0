// The decoder block, forward and backward: x += Out(Attention(Rope(Norm?(QKV(Norm(x)))))); x += Down(SwiGLU(GateUp(Norm(x)))).
#include "core/check.h"
#include "model/decoder.h"
#include "model/norm.h"
#include "model/parallel.h"
#include "model/portable/portable.h"

namespace candor {
namespace {

struct Heads {
  at::Tensor q_NHd, k_NKd, v_NKd;
};

const char* Bytes(const at::Tensor& x) { return static_cast<const char*>(x.const_data_ptr()); }
char* MutableBytes(const at::Tensor& x) { return static_cast<char*>(x.mutable_data_ptr()); }
const void* DataOrNull(const at::Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; }

// The same off the CPU.
Heads SplitHeadsOnDevice(const ModelConfig& c, const BlockWeights& weights, const at::Tensor& qkv_NX, const portable::Angles& angles,
                         at::ScalarType dtype) {
  const int64_t rows = qkv_NX.size(0), d = c.head_dim;
  const auto part = [&](int64_t begin, int64_t heads) { return qkv_NX.narrow(1, begin, heads * d).view({rows, heads, d}); };
  return {portable::HeadNormRope(part(0, c.num_heads), weights.q_norm_d, c.rms_norm_eps, angles, dtype),
          portable::HeadNormRope(part(c.query_size(), c.num_kv_heads), weights.k_norm_d, c.rms_norm_eps, angles, dtype),
          part(c.query_size() + c.kv_size(), c.num_kv_heads).to(dtype).contiguous()};
}

// [N, (H + 2K) d], as Unrounded left it -> q, k with optional head norms and rotary positions, and v.
Heads SplitHeads(const ModelConfig& c, const BlockWeights& weights, const at::Tensor& qkv_NX, RopeTable& rope,
                 const std::vector<int32_t>& positions_N, at::ScalarType dtype) {
  if (!qkv_NX.is_cpu()) return SplitHeadsOnDevice(c, weights, qkv_NX, rope.RowsOn(qkv_NX.device(), positions_N), dtype);
  const int64_t rows = qkv_NX.size(0), d = c.head_dim, width = qkv_NX.size(1), q_size = c.query_size(), kv_size = c.kv_size();
  const auto options = qkv_NX.options().dtype(dtype);
  Heads heads{at::empty({rows, c.num_heads, d}, options), at::empty({rows, c.num_kv_heads, d}, options),
              at::empty({rows, c.num_kv_heads, d}, options)};
  const TypedKernels& kernels = TypedKernelsOf(heads.q_NHd);
  const auto eps = static_cast<float>(c.rms_norm_eps);
  const int64_t size = heads.q_NHd.element_size(), q_bytes = q_size * size, kv_bytes = kv_size * size;
  ParallelRows(rows, width, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      const float* row = qkv_NX.const_data_ptr<float>() + n * width;
      const int64_t angle = static_cast<int64_t>(positions_N[static_cast<size_t>(n)]) * (d / 2);
      kernels.head_norm_rope(row, MutableBytes(heads.q_NHd) + n * q_bytes, c.num_heads, d, DataOrNull(weights.q_norm_d), eps,
                             rope.cos() + angle, rope.sin() + angle);
      kernels.head_norm_rope(row + q_size, MutableBytes(heads.k_NKd) + n * kv_bytes, c.num_kv_heads, d, DataOrNull(weights.k_norm_d), eps,
                             rope.cos() + angle, rope.sin() + angle);
      kernels.from_float(row + q_size + kv_size, MutableBytes(heads.v_NKd) + n * kv_bytes, kv_size);
    }
  });
  return heads;
}

at::Tensor SplitHeadsBackwardOnDevice(const ModelConfig& c, const BlockWeights& weights, const AttentionGradients& g,
                                      const at::Tensor& qkv_NX, const portable::Angles& angles, at::ScalarType dtype,
                                      const BlockWeights& grad) {
  const int64_t rows = g.dq_NHd.size(0), d = c.head_dim;
  const auto part = [&](int64_t begin, int64_t heads) {
    return qkv_NX.defined() ? qkv_NX.narrow(1, begin, heads * d).view({rows, heads, d}) : at::Tensor();
  };
  const at::Tensor dq = portable::HeadNormRopeBackward(g.dq_NHd, part(0, c.num_heads), weights.q_norm_d, c.rms_norm_eps, angles,
                                                       grad.q_norm_d),
                   dk = portable::HeadNormRopeBackward(g.dk_NKd, part(c.query_size(), c.num_kv_heads), weights.k_norm_d, c.rms_norm_eps,
                                                       angles, grad.k_norm_d);
  return at::cat({dq.flatten(1), dk.flatten(1), g.dv_NKd.flatten(1)}, 1).to(dtype);
}

// The reverse of SplitHeads; adds the head norms' gradients.
at::Tensor SplitHeadsBackward(const ModelConfig& c, const BlockWeights& weights, const AttentionGradients& g, const at::Tensor& qkv_NX,
                              RopeTable& rope, const std::vector<int32_t>& positions_N, at::ScalarType dtype, const BlockWeights& grad) {
  if (!g.dq_NHd.is_cpu())
    return SplitHeadsBackwardOnDevice(c, weights, g, qkv_NX, rope.RowsOn(g.dq_NHd.device(), positions_N), dtype, grad);
  const int64_t rows = g.dq_NHd.size(0), d = c.head_dim, width = c.query_size() + 2 * c.kv_size();
  at::Tensor dqkv_NX = at::empty({rows, width}, g.dq_NHd.options().dtype(dtype));
  const TypedKernels& kernels = TypedKernelsOf(dqkv_NX);
  const int64_t size = dqkv_NX.element_size(), q_size = c.query_size(), kv_size = c.kv_size();
  const auto eps = static_cast<float>(c.rms_norm_eps);
  const bool norms = weights.q_norm_d.defined();
  const at::Tensor norm_grads = at::zeros({2 * d}, at::kFloat);
  SumInFixedParts(rows, 2 * d, norm_grads, [&](int64_t begin, int64_t end, float* dw) {
    for (int64_t n = begin; n < end; ++n) {
      const float* in = norms ? qkv_NX.const_data_ptr<float>() + n * width : nullptr;
      char* out = MutableBytes(dqkv_NX) + n * width * size;
      const int64_t angle = static_cast<int64_t>(positions_N[static_cast<size_t>(n)]) * (d / 2);
      const float *cos = rope.cos() + angle, *sin = rope.sin() + angle;
      kernels.head_norm_rope_backward(g.dq_NHd.const_data_ptr<float>() + n * q_size, in, out, c.num_heads, d, DataOrNull(weights.q_norm_d),
                                      eps, dw, cos, sin);
      kernels.head_norm_rope_backward(g.dk_NKd.const_data_ptr<float>() + n * kv_size, norms ? in + q_size : nullptr, out + q_size * size,
                                      c.num_kv_heads, d, DataOrNull(weights.k_norm_d), eps, dw + d, cos, sin);
      kernels.from_float(g.dv_NKd.const_data_ptr<float>() + n * kv_size, out + (q_size + kv_size) * size, kv_size);
    }
  });
  if (norms) {
    at::Tensor dq_norm = grad.q_norm_d, dk_norm = grad.k_norm_d;
    dq_norm.add_(norm_grads.narrow(0, 0, d));
    dk_norm.add_(norm_grads.narrow(0, d, d));
  }
  return dqkv_NX;
}

at::Tensor SwiGlu(const at::Tensor& gate_up_NX, at::ScalarType dtype) {
  if (!gate_up_NX.is_cpu()) return portable::SwiGlu(gate_up_NX, dtype);
  const int64_t rows = gate_up_NX.size(0), width = gate_up_NX.size(1) / 2;
  at::Tensor out_NF = at::empty({rows, width}, gate_up_NX.options().dtype(dtype));
  const TypedKernels& kernels = TypedKernelsOf(out_NF);
  const float* gate_up = gate_up_NX.const_data_ptr<float>();
  ParallelRows(rows, width, [&](int64_t begin, int64_t end) {
    kernels.swiglu(gate_up + begin * 2 * width, MutableBytes(out_NF) + begin * width * out_NF.element_size(), end - begin, width);
  });
  return out_NF;
}

at::Tensor SwiGluBackward(const at::Tensor& dout_NF, const at::Tensor& gate_up_NX) {
  if (!dout_NF.is_cpu()) return portable::SwiGluBackward(dout_NF, gate_up_NX);
  const int64_t rows = dout_NF.size(0), width = dout_NF.size(1), size = gate_up_NX.element_size();
  at::Tensor dgate_up_NX = at::empty_like(gate_up_NX);
  const TypedKernels& kernels = TypedKernelsOf(gate_up_NX);
  ParallelRows(rows, width, [&](int64_t begin, int64_t end) {
    kernels.swiglu_backward(Bytes(dout_NF) + begin * width * size, Bytes(gate_up_NX) + begin * 2 * width * size,
                            MutableBytes(dgate_up_NX) + begin * 2 * width * size, end - begin, width);
  });
  return dgate_up_NX;
}

at::Tensor FromFloat(const at::Tensor& x, at::ScalarType dtype) {
  if (x.scalar_type() == dtype) return x;
  if (!x.is_cpu()) return x.to(dtype);
  at::Tensor y = at::empty(x.sizes(), x.options().dtype(dtype));
  const TypedKernels& kernels = TypedKernelsOf(y);
  ParallelRows(x.numel(), 1, [&](int64_t begin, int64_t end) {
    kernels.from_float(x.const_data_ptr<float>() + begin, MutableBytes(y) + begin * y.element_size(), end - begin);
  });
  return y;
}

int64_t PositionsNeeded(const std::vector<int32_t>& positions_N) {
  int64_t needed = 0;
  for (int32_t position : positions_N) needed = std::max<int64_t>(needed, int64_t{position} + 1);
  return needed;
}

// What rotation, head norms and SwiGLU read: the sums stay fp32 until those are done, so that a number is rounded once.
at::Tensor Unrounded(const Linear& linear, const at::Tensor& x_NI, const Numerics& numerics) {
  at::Tensor y_NO = at::empty({x_NI.size(0), linear.weight_OI.size(0)}, x_NI.options().dtype(at::kFloat));
  ApplyToFloat(linear, x_NI, y_NO, numerics);
  return y_NO;
}

// The one forward; saved may be null. `in_place`: x becomes the result.
at::Tensor RunBlock(const ModelConfig& config, const BlockWeights& weights, const at::Tensor& x_ND, RopeTable& rope,
                    const std::vector<int32_t>& positions_N, const Attend& attend, const Numerics& numerics, BlockSaved* saved,
                    bool in_place) {
  rope.Reserve(PositionsNeeded(positions_N));
  const at::ScalarType dtype = weights.down.weight_OI.scalar_type();
  const at::Tensor attention_in_ND =
      RmsNorm(x_ND, weights.attention_norm_D, config.rms_norm_eps, saved ? &saved->attention_rstd_N : nullptr);
  const at::Tensor qkv_NX = Unrounded(weights.qkv, attention_in_ND, numerics);
  const Heads heads = SplitHeads(config, weights, qkv_NX, rope, positions_N, dtype);
  const at::Tensor attention_NHd = attend(weights.layer, heads.q_NHd, heads.k_NKd, heads.v_NKd);
  const at::Tensor middle_ND = in_place ? x_ND : x_ND.clone();
  ApplyAdd(weights.out, attention_NHd.view({x_ND.size(0), config.query_size()}), middle_ND, numerics);

  const at::Tensor mlp_in_ND = RmsNorm(middle_ND, weights.mlp_norm_D, config.rms_norm_eps, saved ? &saved->mlp_rstd_N : nullptr);
  const Linear gate_up = ForSwiGlu(weights.gate_up, numerics);
  at::Tensor gate_up_NX = gate_up.gate_up_tiles ? at::Tensor() : Unrounded(gate_up, mlp_in_ND, numerics);
  const at::Tensor activated_NF =
      gate_up.gate_up_tiles ? ApplySwiGlu(gate_up, mlp_in_ND, saved ? &gate_up_NX : nullptr) : SwiGlu(gate_up_NX, dtype);
  const at::Tensor y_ND = saved ? middle_ND.clone() : middle_ND;
  ApplyAdd(weights.down, activated_NF, y_ND, numerics);
  if (saved) {
    saved->input_ND = x_ND;
    saved->attention_in_ND = attention_in_ND;
    if (weights.q_norm_d.defined()) saved->qkv_NX = qkv_NX;
    saved->q_NHd = heads.q_NHd;
    saved->k_NKd = heads.k_NKd;
    saved->v_NKd = heads.v_NKd;
    saved->attention_NHd = attention_NHd;
    saved->middle_ND = middle_ND;
    saved->mlp_in_ND = mlp_in_ND;
    saved->gate_up_NX = FromFloat(gate_up_NX, dtype);
    saved->activated_NF = activated_NF;
  }
  return y_ND;
}

}  // namespace

at::Tensor Block(const ModelConfig& config, const BlockWeights& weights, const at::Tensor& x_ND, RopeTable& rope,
                 const std::vector<int32_t>& positions_N, const Attend& attend, const Numerics& numerics) {
  return RunBlock(config, weights, x_ND, rope, positions_N, attend, numerics, nullptr, true);
}

at::Tensor BlockForward(const ModelConfig& config, const BlockWeights& weights, const at::Tensor& x_ND, RopeTable& rope,
                        const PackedGroups& batch, const Numerics& numerics, BlockSaved* saved) {
  const Attend attend = [&](int64_t, const at::Tensor& q_NHd, const at::Tensor& k_NKd, const at::Tensor& v_NKd) {
    return PackedAttention(q_NHd, k_NKd, v_NKd, batch, saved ? &saved->attention : nullptr);
  };
  return RunBlock(config, weights, x_ND, rope, batch.positions_N, attend, numerics, saved, false);
}

at::Tensor BlockBackward(const ModelConfig& config, const BlockWeights& weights, const at::Tensor& dy_ND, RopeTable& rope,
                         const PackedGroups& batch, const Numerics& numerics, const BlockSaved& saved, const BlockWeights& grad) {
  const at::ScalarType dtype = weights.down.weight_OI.scalar_type();
  const int64_t rows = dy_ND.size(0);
  // The MLP half.
  const at::Tensor dy_low_ND = FromFloat(dy_ND, dtype);
  AddWeightGradient(saved.activated_NF, dy_low_ND, grad.down, numerics);
  const at::Tensor dgate_up_NX = SwiGluBackward(InputGradient(weights.down, dy_low_ND, numerics), saved.gate_up_NX);
  AddWeightGradient(saved.mlp_in_ND, dgate_up_NX, grad.gate_up, numerics);
  const at::Tensor dx_ND = dy_ND.clone();
  AddRmsNormBackward(InputGradientFloat(weights.gate_up, dgate_up_NX, numerics), saved.middle_ND, weights.mlp_norm_D, saved.mlp_rstd_N,
                     dx_ND, grad.mlp_norm_D);
  // The attention half.
  const at::Tensor dmiddle_low_ND = FromFloat(dx_ND, dtype);
  AddWeightGradient(saved.attention_NHd.view({rows, config.query_size()}), dmiddle_low_ND, grad.out, numerics);
  const at::Tensor dattention_NHd = InputGradient(weights.out, dmiddle_low_ND, numerics).view({rows, config.num_heads, config.head_dim});
  const AttentionGradients heads =
      PackedAttentionBackward(dattention_NHd, saved.q_NHd, saved.k_NKd, saved.v_NKd, saved.attention_NHd, batch, saved.attention);
  const at::Tensor dqkv_NX = SplitHeadsBackward(config, weights, heads, saved.qkv_NX, rope, batch.positions_N, dtype, grad);
  AddWeightGradient(saved.attention_in_ND, dqkv_NX, grad.qkv, numerics);
  AddRmsNormBackward(InputGradientFloat(weights.qkv, dqkv_NX, numerics), saved.input_ND, weights.attention_norm_D, saved.attention_rstd_N,
                     dx_ND, grad.attention_norm_D);
  return dx_ND;
}

}  // namespace candor
