// AdamW on one slice of flat memory, and the learning rate of a step. Local mathematics: no rank, no collective. All state is fp32.
// Update of step t (Loshchilov & Hutter, arXiv 1711.05101; the same order of operations as torch.optim.AdamW):
//   w *= 1 - lr * decay;  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2;  w -= lr / (1 - b1^t) * m / (sqrt(v) / sqrt(1 - b2^t) + eps)
#pragma once
#include <cstdint>
#include <span>

#include "trainer/options.h"

namespace candor {

// Constants of one update, the same for every slice.
struct AdamWStep {
  float gradient_scale = 1.0f;  // clipping: g is multiplied by it first
  float beta1 = 0.9f, beta2 = 0.95f, epsilon = 1e-8f;
  float decay_factor = 1.0f;  // 1 - lr * decay
  float step_size = 0.0f;     // lr / (1 - b1^t)
  float inverse_root = 1.0f;  // 1 / sqrt(1 - b2^t)
};
// `updates` counts the updates including this one, from 1.
AdamWStep PlanAdamW(const AdamOptions& options, double lr, int64_t updates, double gradient_scale);

// All spans of one length. `decays`: whether weight decay applies to these elements. `low` gets the new weights, rounded to bf16 (nearest,
// ties to even; raw 16-bit words); empty: nobody wants them. Whether all new weights are finite. Parallel inside.
bool ApplyAdamW(const AdamWStep& step, bool decays, std::span<float> weights, std::span<float> m, std::span<float> v,
                std::span<const float> gradient, std::span<uint16_t> low = {});

// average = decay * average + (1 - decay) * weights.
void ApplyAverage(double decay, std::span<float> average, std::span<const float> weights);

// Sum of squares in double, in a fixed order that does not depend on the number of threads.
double SumOfSquares(std::span<const float> x);

// Factor that brings a gradient of this norm to at most `clip` (0: no clipping).
double ClipScale(double norm, double clip);

// Rate of step 1..total. Warm-up: lr * step / warmup; then constant, or linear or half a cosine down to final_lr_ratio * lr at `total`.
double LearningRate(const ScheduleOptions& options, int64_t total, int64_t step);

}  // namespace candor
