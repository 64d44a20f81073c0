#include "trainer/slice_update.h"

namespace candor {

namespace {

std::span<float> Floats(const at::Tensor& slice) { return {slice.data_ptr<float>(), static_cast<size_t>(slice.numel())}; }

std::span<uint16_t> Words(const at::Tensor& low) {
  if (!low.defined()) return {};
  return {static_cast<uint16_t*>(low.mutable_data_ptr()), static_cast<size_t>(low.numel())};
}

}  // namespace

bool ApplyAdamW(const AdamWStep& s, bool decays, const at::Tensor& w, const at::Tensor& m, const at::Tensor& v, const at::Tensor& g,
                const at::Tensor& low) {
  if (w.is_cpu()) return ApplyAdamW(s, decays, Floats(w), Floats(m), Floats(v), Floats(g), Words(low));
  at::Tensor gradient = s.gradient_scale == 1.0f ? g : g * s.gradient_scale;
  m.mul_(s.beta1).add_(gradient, 1.0f - s.beta1);
  v.mul_(s.beta2).addcmul_(gradient, gradient, 1.0f - s.beta2);
  const at::Tensor root = v.sqrt().mul_(s.inverse_root).add_(s.epsilon);
  if (decays) w.mul_(s.decay_factor);
  w.addcdiv_(m, root, -s.step_size);
  if (low.defined()) at::Tensor(low).copy_(w);
  return true;
}

void ApplyAverage(double decay, const at::Tensor& average, const at::Tensor& w) {
  if (w.is_cpu()) return ApplyAverage(decay, Floats(average), Floats(w));
  average.mul_(decay).add_(w, 1.0 - decay);
}

std::vector<double> SumsOfSquares(const std::vector<at::Tensor>& slices) {
  std::vector<double> sums;
  if (slices.empty() || slices[0].is_cpu()) {
    for (const at::Tensor& slice : slices) sums.push_back(SumOfSquares(Floats(slice)));
    return sums;
  }
  std::vector<at::Tensor> norms;
  for (const at::Tensor& slice : slices) norms.push_back(at::linalg_vector_norm(slice, 2, at::OptionalIntArrayRef{}, false, at::kDouble));
  const at::Tensor squares = at::stack(norms).square().cpu();
  return {squares.data_ptr<double>(), squares.data_ptr<double>() + squares.numel()};
}

}  // namespace candor
