// The mathematics of one optimizer step on slices, wherever they lie: on the CPU the loops of optimizer.h, on a device the same formulas in
// LibTorch's operators. All tensors fp32, one-dimensional, of one length and on one device. One thread.
#pragma once
#include <vector>

#include "model/device.h"
#include "trainer/optimizer.h"

namespace candor {

// `low`: the weights' copy in bf16, which follows; undefined: there is none. Whether all new weights are finite; a device is not waited
// for: there it is always true (SumsOfSquares finds out).
bool ApplyAdamW(const AdamWStep& step, bool decays, const at::Tensor& weights, const at::Tensor& m, const at::Tensor& v,
                const at::Tensor& gradient, const at::Tensor& low);
void ApplyAverage(double decay, const at::Tensor& average, const at::Tensor& weights);
// One sum per slice, in double; a device is waited for once.
std::vector<double> SumsOfSquares(const std::vector<at::Tensor>& slices);

}  // namespace candor
