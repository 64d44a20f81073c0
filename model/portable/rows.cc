// Norms, rotary positions, SwiGLU and the embedding, row by row.
#include "model/device.h"
#include "model/portable/portable.h"

namespace candor::portable {
namespace {

at::Tensor Rstd(const at::Tensor& x, double eps) { return x.square().mean(-1, /*keepdim=*/true).add_(eps).rsqrt_(); }

// With n = x * rstd: dx = rstd (w dy - n mean(w dy n)).
at::Tensor NormBackward(const at::Tensor& weighted_dy, const at::Tensor& n, const at::Tensor& rstd) {
  return (weighted_dy - n * (weighted_dy * n).mean(-1, /*keepdim=*/true)).mul_(rstd);
}

}  // namespace

at::Tensor RmsNorm(const at::Tensor& x_ND, const at::Tensor& weight_D, double eps, at::Tensor* rstd_N) {
  const at::Tensor rstd_N1 = Rstd(x_ND, eps);
  if (rstd_N) *rstd_N = rstd_N1.squeeze(1);
  return (x_ND * rstd_N1).mul_(weight_D.to(at::kFloat)).to(weight_D.scalar_type());
}

void AddRmsNormBackward(const at::Tensor& dy_ND, const at::Tensor& x_ND, const at::Tensor& weight_D, const at::Tensor& rstd_N,
                        const at::Tensor& dx_ND, const at::Tensor& grad_D) {
  const at::Tensor rstd_N1 = rstd_N.unsqueeze(1), n_ND = x_ND * rstd_N1;
  dx_ND.add_(NormBackward(dy_ND * weight_D.to(at::kFloat), n_ND, rstd_N1));
  grad_D.add_((dy_ND * n_ND).sum(0));
}

at::Tensor HeadNormRope(const at::Tensor& x_NHd, const at::Tensor& norm_d, double eps, const Angles& angles, at::ScalarType dtype) {
  at::Tensor x = x_NHd.to(at::kFloat);
  if (norm_d.defined()) x = (x * Rstd(x, eps)).mul_(norm_d.to(at::kFloat));
  const int64_t half = x.size(2) / 2;
  const at::Tensor a = x.narrow(2, 0, half), b = x.narrow(2, half, half), cos = angles.cos_Nh.unsqueeze(1),
                   sin = angles.sin_Nh.unsqueeze(1);
  return at::cat({a * cos - b * sin, b * cos + a * sin}, 2).to(dtype);
}

at::Tensor HeadNormRopeBackward(const at::Tensor& dy_NHd, const at::Tensor& x_NHd, const at::Tensor& norm_d, double eps,
                                const Angles& angles, const at::Tensor& grad_norm_d) {
  const int64_t half = dy_NHd.size(2) / 2;
  const at::Tensor da = dy_NHd.narrow(2, 0, half), db = dy_NHd.narrow(2, half, half), cos = angles.cos_Nh.unsqueeze(1),
                   sin = angles.sin_Nh.unsqueeze(1);
  const at::Tensor dn = at::cat({da * cos + db * sin, db * cos - da * sin}, 2);
  if (!norm_d.defined()) return dn;
  const at::Tensor x = x_NHd.to(at::kFloat), rstd = Rstd(x, eps), n = x * rstd;
  grad_norm_d.add_((dn * n).sum(at::IntArrayRef{0, 1}));
  return NormBackward(dn * norm_d.to(at::kFloat), n, rstd);
}

at::Tensor SwiGlu(const at::Tensor& gate_up_NX, at::ScalarType dtype) {
  const int64_t width = gate_up_NX.size(1) / 2;
  const at::Tensor gate = gate_up_NX.narrow(1, 0, width).to(at::kFloat), up = gate_up_NX.narrow(1, width, width).to(at::kFloat);
  return (at::sigmoid(gate).mul_(gate)).mul_(up).to(dtype);
}

at::Tensor SwiGluBackward(const at::Tensor& dout_NF, const at::Tensor& gate_up_NX) {
  const int64_t width = dout_NF.size(1);
  const at::Tensor gate = gate_up_NX.narrow(1, 0, width).to(at::kFloat), up = gate_up_NX.narrow(1, width, width).to(at::kFloat),
                   dout = dout_NF.to(at::kFloat), s = at::sigmoid(gate);
  const at::Tensor dgate = (1.0 - s).mul_(gate).add_(1.0).mul_(s).mul_(up).mul_(dout), dup = (s * gate).mul_(dout);
  return at::cat({dgate, dup}, 1).to(gate_up_NX.scalar_type());
}

at::Tensor SelectRowsAsFloat(const at::Tensor& table_VD, const std::vector<int32_t>& ids_N) {
  return table_VD.index_select(0, ToDevice(ids_N, table_VD.device())).to(at::kFloat);
}

// index_put_ sorts the rows on a GPU, where index_add_ adds in whatever order its threads come.
void AddRowsInto(const at::Tensor& d_MD, const at::Tensor& rows_M, const at::Tensor& sum_ND) {
  at::Tensor sum = sum_ND;
  sum.index_put_({rows_M}, d_MD, /*accumulate=*/true);
}

}  // namespace candor::portable
