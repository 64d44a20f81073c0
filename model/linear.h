// Products with weights: y = x Wᵀ + b. A weight can carry a form packed once (engine: one version, many products); the learner uses the
// plain weight, which is a view of a gathered flat tensor. Gradients of weights are accumulated in fp32. In deterministic mode every
// product is ordered_product.h's, whose rows do not depend on each other. Off the CPU nothing is packed and portable/products.cc computes
// what LibTorch has no one operator for.
#pragma once
#include "model/dtype.h"

namespace candor {

struct Linear {
  at::Tensor weight_OI;
  at::Tensor bias_O;           // undefined: none
  at::Tensor packed;           // bf16: by oneDNN, fp32: in panels (ordered_product.h); undefined: not packed
  at::Tensor tiles = {};       // for the processor's matrix unit (packed_linear.h); undefined: not packed
  bool gate_up_tiles = false;  // the tiles are ApplySwiGlu's
  at::Tensor columns = {};     // for InputGradientFloat, of ForChunks; undefined: not laid out
};

// Packs for products of about `rows` rows: bf16 by oneDNN (where packed_linear.h does not do it), fp32 in panels in deterministic mode and
// where the processor has AVX2 only; other fp32 weights and those on a device stay as they are. Apply and the others work either way, in
// deterministic mode with the same bits.
void PackLinear(Linear& linear, int64_t rows, const Numerics& numerics);
// The same weight, laid out for ApplyToFloat (`products`) and for InputGradientFloat (`gradients`) over the chunks of one pass, where each
// of them would lay it out anew (float_product.h); elsewhere as it is. It takes the weight's size in memory for each.
Linear ForChunks(const Linear& linear, bool products, bool gradients);
// x [N, I] -> [N, O] in x's format.
at::Tensor Apply(const Linear& linear, const at::Tensor& x_NI, const Numerics& numerics);
// residual [N, O] (fp32) += x Wᵀ + b.
void ApplyAdd(const Linear& linear, const at::Tensor& x_NI, const at::Tensor& residual_NO, const Numerics& numerics);
// x [N, I] -> fp32 [N, O] without rounding the results to bf16. `out_NO` is contiguous fp32.
void ApplyToFloat(const Linear& linear, const at::Tensor& x_NI, const at::Tensor& out_NO, const Numerics& numerics);

// silu(gate) * up [N, F] in one product with tiles of gate and up (gate_up_tiles). `gate_up_NX`: gets gate and up, rounded, for backward.
at::Tensor ApplySwiGlu(const Linear& gate_up, const at::Tensor& x_NI, at::Tensor* gate_up_NX = nullptr);
// The same weight with such tiles, for one product: where laying it out costs less than a pass over results in fp32; elsewhere as it is.
Linear ForSwiGlu(const Linear& gate_up, const Numerics& numerics);

// dx = dy W in dy's format, and in fp32.
at::Tensor InputGradient(const Linear& linear, const at::Tensor& dy_NO, const Numerics& numerics);
at::Tensor InputGradientFloat(const Linear& linear, const at::Tensor& dy_NO, const Numerics& numerics);
// grad.weight_OI += dyᵀ x and grad.bias_O += sum(dy), both fp32.
void AddWeightGradient(const at::Tensor& x_NI, const at::Tensor& dy_NO, const Linear& grad, const Numerics& numerics);

// Tries products of many row counts with the shapes of a model and compares the rows bit for bit: whether deterministic mode keeps its
// promise on this machine.
bool SelfTestRowInvariance(int64_t hidden_size, int64_t intermediate_size, int64_t vocab_size);

}  // namespace candor
