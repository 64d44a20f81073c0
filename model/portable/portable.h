// The decoder's mathematics in LibTorch's operators, for tensors that are not on the CPU: the same functions as the hand-written CPU
// kernels, with the same contract (fp32 residual stream, fp32 sums in attention, norms and log-softmax, fp32 gradients of weights; only
// results that the contract says are rounded to the policy's format). The functions of model/ call these when their tensors lie on a
// device; nothing else does. They run on any device that LibTorch has operators for, the CPU included, which is how the tests compare them
// with the kernels.
//
// What holds: no data pointer is taken, host integers cross once per call (or once per batch where a plan is kept), and no sum depends on
// the order in which threads of a device happen to run. Results differ from the kernels' by the order of summation only.
// Legend as in decoder.h and head.h.
#pragma once
#include <vector>

#include "model/linear.h"

namespace candor::portable {

// ---- rows (rows.cc)

at::Tensor RmsNorm(const at::Tensor& x_ND, const at::Tensor& weight_D, double eps, at::Tensor* rstd_N);
void AddRmsNormBackward(const at::Tensor& dy_ND, const at::Tensor& x_ND, const at::Tensor& weight_D, const at::Tensor& rstd_N,
                        const at::Tensor& dx_ND, const at::Tensor& grad_D);
// cos and sin of a row's position, fp32 [N, d / 2].
struct Angles {
  at::Tensor cos_Nh, sin_Nh;
};
// Optional RMSNorm of each head (norm_d undefined: none), then rotation; in x's format, contiguous.
at::Tensor HeadNormRope(const at::Tensor& x_NHd, const at::Tensor& norm_d, double eps, const Angles& angles, at::ScalarType dtype);
// dy fp32, x the input of the forward (only with a norm) -> dx fp32; adds into grad_norm_d where there is a norm.
at::Tensor HeadNormRopeBackward(const at::Tensor& dy_NHd, const at::Tensor& x_NHd, const at::Tensor& norm_d, double eps,
                                const Angles& angles, const at::Tensor& grad_norm_d);
at::Tensor SwiGlu(const at::Tensor& gate_up_NX, at::ScalarType dtype);
at::Tensor SwiGluBackward(const at::Tensor& dout_NF, const at::Tensor& gate_up_NX);
// Rows of a table as fp32, and sum[rows_M[m]] += d_MD[m] in an order that depends only on rows_M.
at::Tensor SelectRowsAsFloat(const at::Tensor& table_VD, const std::vector<int32_t>& ids_N);
void AddRowsInto(const at::Tensor& d_MD, const at::Tensor& rows_M, const at::Tensor& sum_ND);

// ---- products (products.cc): fp32 results of products in the policy's format

void ApplyAdd(const Linear& linear, const at::Tensor& x_NI, const at::Tensor& residual_NO);
void ApplyToFloat(const Linear& linear, const at::Tensor& x_NI, const at::Tensor& out_NO);
at::Tensor InputGradientFloat(const Linear& linear, const at::Tensor& dy_NO);
void AddWeightGradient(const at::Tensor& x_NI, const at::Tensor& dy_NO, const Linear& grad);

}  // namespace candor::portable
