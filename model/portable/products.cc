// Products whose results stay fp32: LibTorch's GPU half multiplies bf16 into fp32 itself; elsewhere the factors are widened first, which
// gives the same sums, because the product of two bf16 numbers is exact in fp32.
#include "core/check.h"
#include "model/portable/portable.h"

namespace candor::portable {
namespace {

// out = a b, out fp32.
void ProductInto(const at::Tensor& a, const at::Tensor& b, at::Tensor out) {
  if (a.scalar_type() == at::kFloat)
    at::mm_out(out, a, b);
  else if (a.is_cuda())
    at::mm_out(out, a, b, at::kFloat);
  else
    at::mm_out(out, a.to(at::kFloat), b.to(at::kFloat));
}

at::Tensor Product(const at::Tensor& a, const at::Tensor& b) {
  at::Tensor out = at::empty({a.size(0), b.size(1)}, a.options().dtype(at::kFloat));
  ProductInto(a, b, out);
  return out;
}

}  // namespace

void ApplyAdd(const Linear& linear, const at::Tensor& x_NI, const at::Tensor& residual_NO) {
  residual_NO.add_(Product(x_NI, linear.weight_OI.t()));
  if (linear.bias_O.defined()) residual_NO.add_(linear.bias_O);
}

void ApplyToFloat(const Linear& linear, const at::Tensor& x_NI, const at::Tensor& out_NO) {
  ProductInto(x_NI, linear.weight_OI.t(), out_NO);
  if (linear.bias_O.defined()) out_NO.add_(linear.bias_O);
}

at::Tensor InputGradientFloat(const Linear& linear, const at::Tensor& dy_NO) { return Product(dy_NO, linear.weight_OI); }

void AddWeightGradient(const at::Tensor& x_NI, const at::Tensor& dy_NO, const Linear& grad) {
  CANDOR_CHECK(grad.weight_OI.scalar_type() == at::kFloat, "gradients of weights are fp32");
  grad.weight_OI.add_(Product(dy_NO.t(), x_NI));
  if (grad.bias_O.defined()) grad.bias_O.add_(at::sum(dy_NO, 0, false, at::kFloat));
}

}  // namespace candor::portable
