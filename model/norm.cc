// RMSNorm over threads.
#include "model/norm.h"

#include "model/parallel.h"
#include "model/portable/portable.h"

namespace candor {

at::Tensor RmsNorm(const at::Tensor& x_ND, const at::Tensor& weight_D, double eps, at::Tensor* rstd_N) {
  if (!x_ND.is_cpu()) return portable::RmsNorm(x_ND, weight_D, eps, rstd_N);
  const int64_t rows = x_ND.size(0), width = x_ND.size(1);
  at::Tensor y_ND = at::empty({rows, width}, weight_D.options());
  float* rstd = nullptr;
  if (rstd_N) {
    *rstd_N = at::empty({rows}, x_ND.options());
    rstd = rstd_N->mutable_data_ptr<float>();
  }
  const TypedKernels& kernels = TypedKernelsOf(weight_D);
  const float* x = x_ND.const_data_ptr<float>();
  char* y = static_cast<char*>(y_ND.mutable_data_ptr());
  ParallelRows(rows, width, [&](int64_t begin, int64_t end) {
    kernels.rms_norm(x + begin * width, weight_D.const_data_ptr(), y + begin * width * y_ND.element_size(), rstd ? rstd + begin : nullptr,
                     end - begin, width, static_cast<float>(eps));
  });
  return y_ND;
}

void AddRmsNormBackward(const at::Tensor& dy_ND, const at::Tensor& x_ND, const at::Tensor& weight_D, const at::Tensor& rstd_N,
                        const at::Tensor& dx_ND, const at::Tensor& grad_D) {
  if (!x_ND.is_cpu()) return portable::AddRmsNormBackward(dy_ND, x_ND, weight_D, rstd_N, dx_ND, grad_D);
  const int64_t rows = x_ND.size(0), width = x_ND.size(1);
  const TypedKernels& kernels = TypedKernelsOf(weight_D);
  SumInFixedParts(rows, width, grad_D, [&](int64_t begin, int64_t end, float* dw) {
    kernels.rms_norm_backward(dy_ND.const_data_ptr<float>() + begin * width, x_ND.const_data_ptr<float>() + begin * width,
                              weight_D.const_data_ptr(), rstd_N.const_data_ptr<float>() + begin,
                              dx_ND.mutable_data_ptr<float>() + begin * width, dw, end - begin, width);
  });
}

}  // namespace candor
