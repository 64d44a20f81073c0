// Products: packed equals plain, fp32 sums of bf16 inputs. Deterministic mode: ordered_product_test.cc.
#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

void PackedEqualPlain(DType dtype, at::ScalarType type, double bound) {
  Linear plain{TestTensor({96, 64}, 1, type), TestTensor({96}, 2, type), {}};
  Linear packed = plain;
  const Numerics numerics{dtype, false};
  PackLinear(packed, 32, numerics);
  for (int64_t rows : {0, 1, 7, 32, 130}) {
    const at::Tensor x = TestTensor({rows, 64}, 3, type);
    const at::Tensor a = Apply(plain, x, numerics), b = Apply(packed, x, numerics);
    ASSERT_EQ(a.sizes(), b.sizes());
    EXPECT_LE(MaxAbs(a.to(at::kFloat) - b.to(at::kFloat)), bound) << rows;
    at::Tensor sum_a = at::ones({rows, 96}), sum_b = at::ones({rows, 96});
    ApplyAdd(plain, x, sum_a, numerics);
    ApplyAdd(packed, x, sum_b, numerics);
    EXPECT_LE(MaxAbs(sum_a - sum_b), bound) << rows;
    ApplyToFloat(plain, x, sum_a, numerics);
    ApplyToFloat(packed, x, sum_b, numerics);
    EXPECT_LE(MaxAbs(sum_a - sum_b), bound) << rows;
    if (rows > 0) {
      EXPECT_GT(MaxAbs(sum_a), 10 * bound) << "a result of zeros would pass";
    }
  }
}
TEST(Linear, PackedProductsEqualPlainOnes) {
  PackedEqualPlain(DType::kBf16, at::kBFloat16, 0.04);
  PackedEqualPlain(DType::kFp32, at::kFloat, 1e-5);
}

TEST(Linear, LogitsAndWeightGradientsOfBf16KeepFp32Sums) {
  const at::Tensor x = TestTensor({50, 40}, 1, at::kBFloat16), w = TestTensor({30, 40}, 2, at::kBFloat16),
                   dy = TestTensor({50, 30}, 3, at::kBFloat16);
  const at::Tensor out = at::empty({50, 30});
  ApplyToFloat({w, {}, {}}, x, out, {DType::kBf16, false});
  const at::Tensor exact = at::mm(x.to(at::kDouble), w.to(at::kDouble).t());
  EXPECT_LE(RelativeError(out, exact), 1e-6);
  EXPECT_GT(RelativeError(out.to(at::kBFloat16), exact), 1e-6) << "rounding would be noticed";
  const Linear grad{at::ones({30, 40}), at::ones({30}), {}};
  AddWeightGradient(x, dy, grad, {DType::kBf16, false});
  EXPECT_LE(RelativeError(grad.weight_OI, 1 + at::mm(dy.to(at::kDouble).t(), x.to(at::kDouble))), 1e-6);
  EXPECT_LE(RelativeError(grad.bias_O, 1 + dy.to(at::kDouble).sum(0)), 1e-6);
  EXPECT_LE(RelativeError(InputGradientFloat({w, {}, {}}, dy, {DType::kBf16, false}), at::mm(dy.to(at::kDouble), w.to(at::kDouble))), 1e-6);
}

TEST(DType, NamesAndProbe) {
  EXPECT_EQ(*ParseDType("bfloat16"), DType::kBf16);
  EXPECT_EQ(*ParseDType("fp32"), DType::kFp32);
  EXPECT_FALSE(ParseDType("int8"));
  const DTypeProbe probe = ProbeDType();
  EXPECT_GT(probe.bf16_gflops, 0.0);
  EXPECT_EQ(probe.choice == DType::kBf16, probe.bf16_gflops > probe.fp32_gflops);
  EXPECT_EQ(ResolveDType(DType::kBf16), DType::kBf16);
}

}  // namespace
}  // namespace candor
