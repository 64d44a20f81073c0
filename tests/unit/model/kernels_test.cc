// Every instruction set's kernels against plain double-precision formulas, on sizes with and without a remainder of 16.
#include "model/kernels/kernels.h"

#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

std::vector<float> Numbers(int64_t count, uint64_t seed, float scale = 1.0f) {
  const at::Tensor x = TestTensor({count}, seed) * scale;
  return {x.const_data_ptr<float>(), x.const_data_ptr<float>() + count};
}

class KernelSet : public ::testing::TestWithParam<size_t> {
 protected:
  const Kernels& kernels() const { return AllKernels()[GetParam()]; }
};

TEST_P(KernelSet, RowStatistics) {
  for (int64_t width : {1, 15, 16, 50, 1000, 49152}) {
    std::vector<float> z = Numbers(width, 3, 20.0f);
    double sum = 0, dot = 0;
    const double max = *std::max_element(z.begin(), z.end());
    for (float x : z) sum += std::exp(x - max), dot += std::exp(x - max) * (x - max);
    float got_max = 0, log_sum_exp = 0, entropy = 0;
    kernels().row_statistics(z.data(), width, &got_max, &log_sum_exp, &entropy);
    EXPECT_EQ(got_max, max);
    EXPECT_NEAR(log_sum_exp, max + std::log(sum), 4e-6) << width;
    EXPECT_NEAR(entropy, std::log(sum) - dot / sum, 1e-5) << width;
  }
}

TEST_P(KernelSet, FarLogitsGiveFiniteNumbers) {
  std::vector<float> z(100, -1000.0f);
  z[7] = 500.0f;
  float max = 0, log_sum_exp = 0, entropy = -1;
  kernels().row_statistics(z.data(), 100, &max, &log_sum_exp, &entropy);
  EXPECT_EQ(log_sum_exp, 500.0f);
  EXPECT_EQ(entropy, 0.0f);
}

TEST_P(KernelSet, LogProbGradient) {
  const int64_t width = 50, target = 17;
  std::vector<float> z = Numbers(width, 4, 3.0f), out(width);
  double sum = 0;
  for (float x : z) sum += std::exp(static_cast<double>(x));
  kernels().fp32.log_prob_gradient(z.data(), width, static_cast<float>(std::log(sum)), target, 0.7f, out.data());
  double total = 0;
  for (int64_t i = 0; i < width; ++i) {
    const double expected = 0.7 * ((i == target ? 1.0 : 0.0) - std::exp(static_cast<double>(z[i])) / sum);
    EXPECT_NEAR(out[i], expected, 1e-6) << i;
    total += out[i];
  }
  EXPECT_NEAR(total, 0.0, 1e-6);
}

TEST_P(KernelSet, ScaledNumbersMayMoveForward) {
  const int64_t count = 50, shift = 9;
  std::vector<float> x = Numbers(count + shift, 4, 3.0f);
  const std::vector<float> before = x;
  kernels().fp32.scale(x.data() + shift, x.data(), count, -0.5f);
  for (int64_t i = 0; i < count; ++i) EXPECT_EQ(x[i], -0.5f * before[i + shift]) << i;
  for (int64_t i = count; i < count + shift; ++i) EXPECT_EQ(x[i], before[i]) << i;  // nothing beyond
}

TEST_P(KernelSet, RmsNormAndItsGradient) {
  for (int64_t width : {16, 40, 576}) {
    const std::vector<float> x = Numbers(width, 5, 2.0f), w = Numbers(width, 6), dy = Numbers(width, 7);
    std::vector<float> y(width), dx(width, 0.5f), dw(width, 0.25f);
    float rstd = 0;
    kernels().fp32.rms_norm(x.data(), w.data(), y.data(), &rstd, 1, width, 1e-5f);
    kernels().fp32.rms_norm_backward(dy.data(), x.data(), w.data(), &rstd, dx.data(), dw.data(), 1, width);
    double squares = 0, dot = 0;
    for (int64_t i = 0; i < width; ++i) squares += static_cast<double>(x[i]) * x[i], dot += static_cast<double>(dy[i]) * w[i] * x[i];
    const double r = 1.0 / std::sqrt(squares / static_cast<double>(width) + 1e-5);
    for (int64_t i = 0; i < width; ++i) {
      EXPECT_NEAR(y[i], x[i] * r * w[i], 2e-6);
      EXPECT_NEAR(dx[i], 0.5 + r * (dy[i] * w[i] - x[i] * r * r * dot / static_cast<double>(width)), 1e-5);
      EXPECT_NEAR(dw[i], 0.25 + dy[i] * x[i] * r, 1e-5);
    }
  }
}

TEST_P(KernelSet, SwiGluAndItsGradient) {
  const int64_t width = 21;
  const std::vector<float> gate_up = Numbers(2 * width, 8, 8.0f), dout = Numbers(width, 9);
  std::vector<float> out(width), dgate_up(2 * width);
  kernels().fp32.swiglu(gate_up.data(), out.data(), 1, width);
  kernels().fp32.swiglu_backward(dout.data(), gate_up.data(), dgate_up.data(), 1, width);
  const auto f = [](double g, double u) { return g / (1.0 + std::exp(-g)) * u; };
  for (int64_t i = 0; i < width; ++i) {
    const double g = gate_up[i], u = gate_up[width + i], h = 1e-5;
    EXPECT_NEAR(out[i], f(g, u), 1e-5);
    EXPECT_NEAR(dgate_up[i], dout[i] * (f(g + h, u) - f(g - h, u)) / (2 * h), 2e-5);
    EXPECT_NEAR(dgate_up[width + i], dout[i] * f(g, 1.0), 2e-5);
  }
}

TEST_P(KernelSet, Bf16IsRoundedToNearestEven) {
  const std::vector<float> x = {1.0f, 1.00390625f, 1.01171875f, -3.1415926f, NAN, INFINITY, 1e-40f, 3.4e38f};
  std::vector<at::BFloat16> y(x.size());
  kernels().bf16.from_float(x.data(), y.data(), static_cast<int64_t>(x.size()));
  for (size_t i = 0; i < x.size(); ++i) {
    const at::BFloat16 expected(x[i]);
    if (std::isnan(x[i]))
      EXPECT_TRUE(std::isnan(static_cast<float>(y[i])));
    else
      EXPECT_EQ(y[i].x, expected.x) << x[i];
  }
}

INSTANTIATE_TEST_SUITE_P(All, KernelSet, ::testing::Range(size_t{0}, AllKernels().size()),
                         [](const auto& set) { return AllKernels()[set.param].instruction_set; });

}  // namespace
}  // namespace candor
