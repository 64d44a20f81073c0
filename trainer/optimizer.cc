#include "trainer/optimizer.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <numbers>
#include <vector>

#include "core/check.h"
#include "model/aten.h"

namespace candor {

namespace {

constexpr int64_t kGrain = 1 << 15;  // elements of one parallel piece
constexpr int64_t kNear = 1 << 12;   // elements that the first-level cache still holds when they are looked at again

// Built for several instruction sets, chosen by the loader; the bits are the same on machines of one instruction set.
__attribute__((target_clones("avx512f", "avx2", "default"))) void AdamWRange(const AdamWStep& s, float decay, float* __restrict w,
                                                                             float* __restrict m, float* __restrict v,
                                                                             const float* __restrict g, int64_t n) {
  const AdamWStep o = s;  // nothing that w might be
  const float rest1 = 1.0f - o.beta1, rest2 = 1.0f - o.beta2;
  for (int64_t i = 0; i < n; ++i) {
    float gradient = g[i] * o.gradient_scale;
    float mean = o.beta1 * m[i] + rest1 * gradient;
    float square = o.beta2 * v[i] + rest2 * (gradient * gradient);
    m[i] = mean;
    v[i] = square;
    w[i] = w[i] * decay - o.step_size * (mean / (__builtin_sqrtf(square) * o.inverse_root + o.epsilon));
  }
}

// Whether all are finite.
__attribute__((target_clones("avx512f", "avx2", "default"))) bool FiniteRange(const float* __restrict w, int64_t n) {
  uint32_t largest = 0;  // without its sign a number that is not finite has the greatest exponent
  for (int64_t i = 0; i < n; ++i) largest = std::max(largest, std::bit_cast<uint32_t>(w[i]) & 0x7fff'ffff);
  return largest < 0x7f80'0000;
}

__attribute__((target_clones("avx512f", "avx2", "default"))) void RoundRange(const float* __restrict w, uint16_t* __restrict low,
                                                                             int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const auto bits = std::bit_cast<uint32_t>(w[i]);
    low[i] = static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
  }
}

__attribute__((target_clones("avx512f", "avx2", "default"))) void AverageRange(float keep, float* __restrict average,
                                                                               const float* __restrict w, int64_t n) {
  const float take = 1.0f - keep;
  for (int64_t i = 0; i < n; ++i) average[i] = keep * average[i] + take * w[i];
}

// Eight lanes, added pairwise at the end: a fixed order.
__attribute__((target_clones("avx512f", "avx2", "default"))) double SquaresRange(const float* x, int64_t n) {
  double lanes[8] = {};
  int64_t i = 0;
  for (; i + 8 <= n; i += 8)
    for (int lane = 0; lane < 8; ++lane) lanes[lane] += static_cast<double>(x[i + lane]) * static_cast<double>(x[i + lane]);
  for (; i < n; ++i) lanes[0] += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return ((lanes[0] + lanes[1]) + (lanes[2] + lanes[3])) + ((lanes[4] + lanes[5]) + (lanes[6] + lanes[7]));
}

}  // namespace

AdamWStep PlanAdamW(const AdamOptions& o, double lr, int64_t updates, double gradient_scale) {
  double t = static_cast<double>(updates);
  AdamWStep step;
  step.gradient_scale = static_cast<float>(gradient_scale);
  step.beta1 = static_cast<float>(o.beta1), step.beta2 = static_cast<float>(o.beta2), step.epsilon = static_cast<float>(o.epsilon);
  step.decay_factor = static_cast<float>(1.0 - lr * o.weight_decay);
  step.step_size = static_cast<float>(lr / (1.0 - std::pow(o.beta1, t)));
  step.inverse_root = static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(o.beta2, t)));
  return step;
}

bool ApplyAdamW(const AdamWStep& step, bool decays, std::span<float> w, std::span<float> m, std::span<float> v, std::span<const float> g,
                std::span<uint16_t> low) {
  CANDOR_CHECK(w.size() == m.size() && w.size() == v.size() && w.size() == g.size(), "slices of one length");
  CANDOR_CHECK(low.empty() || low.size() == w.size(), "slices of one length");
  const float decay = decays ? step.decay_factor : 1.0f;
  std::atomic<bool> finite = true;
  at::parallel_for(0, static_cast<int64_t>(w.size()), kGrain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += kNear) {
      const int64_t n = std::min(kNear, end - i);
      AdamWRange(step, decay, w.data() + i, m.data() + i, v.data() + i, g.data() + i, n);
      if (!FiniteRange(w.data() + i, n)) finite = false;
      if (!low.empty()) RoundRange(w.data() + i, low.data() + i, n);
    }
  });
  return finite;
}

void ApplyAverage(double decay, std::span<float> average, std::span<const float> w) {
  CANDOR_CHECK(average.size() == w.size(), "slices of one length");
  at::parallel_for(0, static_cast<int64_t>(w.size()), kGrain, [&](int64_t begin, int64_t end) {
    AverageRange(static_cast<float>(decay), average.data() + begin, w.data() + begin, end - begin);
  });
}

double SumOfSquares(std::span<const float> x) {
  int64_t n = static_cast<int64_t>(x.size()), pieces = (n + kGrain - 1) / kGrain;
  std::vector<double> sums(static_cast<size_t>(pieces), 0.0);
  at::parallel_for(0, pieces, 1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece)
      sums[static_cast<size_t>(piece)] = SquaresRange(x.data() + piece * kGrain, std::min(kGrain, n - piece * kGrain));
  });
  double total = 0.0;
  for (double sum : sums) total += sum;
  return total;
}

double ClipScale(double norm, double clip) { return clip > 0.0 && norm > clip ? clip / norm : 1.0; }

double LearningRate(const ScheduleOptions& o, int64_t total, int64_t step) {
  if (step <= o.warmup_steps) return o.lr * static_cast<double>(step) / static_cast<double>(o.warmup_steps);
  if (o.schedule == "constant" || total <= o.warmup_steps) return o.lr;
  double done = std::min(1.0, static_cast<double>(step - o.warmup_steps) / static_cast<double>(total - o.warmup_steps));
  double rest = o.schedule == "linear" ? 1.0 - done : 0.5 * (1.0 + std::cos(std::numbers::pi * done));
  return o.lr * (o.final_lr_ratio + (1.0 - o.final_lr_ratio) * rest);
}

}  // namespace candor
