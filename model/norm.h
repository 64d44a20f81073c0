// RMSNorm of the fp32 residual stream, over threads.
#pragma once
#include "model/aten.h"
#include "model/kernels/kernels.h"

namespace candor {

inline const TypedKernels& TypedKernelsOf(const at::Tensor& x) {
  return x.scalar_type() == at::kBFloat16 ? GetKernels().bf16 : GetKernels().fp32;
}

// x fp32 [N, D] -> [N, D] in weight's format; rstd_N (fp32) when asked for.
at::Tensor RmsNorm(const at::Tensor& x_ND, const at::Tensor& weight_D, double eps, at::Tensor* rstd_N);
// dx_ND += gradient through the norm; grad_D += (fp32). The rows' shares of grad_D are added in an order that does not depend on the number
// of threads.
void AddRmsNormBackward(const at::Tensor& dy_ND, const at::Tensor& x_ND, const at::Tensor& weight_D, const at::Tensor& rstd_N,
                        const at::Tensor& dx_ND, const at::Tensor& grad_D);

// Splits N rows into a fixed number of parts, each with its own fp32 row of `width` zeros to add into; afterwards the parts are added to
// `grad` in order.
template <typename F>
void SumInFixedParts(int64_t rows, int64_t width, const at::Tensor& grad, const F& f) {
  constexpr int64_t kParts = 16;
  const at::Tensor parts_PW = at::zeros({kParts, width}, at::kFloat);
  float* parts = parts_PW.mutable_data_ptr<float>();
  at::parallel_for(0, kParts, rows * width < 16384 ? kParts : 1, [&](int64_t begin, int64_t end) {
    for (int64_t part = begin; part < end; ++part) f(rows * part / kParts, rows * (part + 1) / kParts, parts + part * width);
  });
  float* to = grad.mutable_data_ptr<float>();
  for (int64_t part = 0; part < kParts; ++part)
    for (int64_t i = 0; i < width; ++i) to[i] += parts[part * width + i];
}

}  // namespace candor
