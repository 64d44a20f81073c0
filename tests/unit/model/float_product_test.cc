// bf16 products with fp32 sums, by MKL and by our own panels, against exact sums on whole and ragged sizes.
#include "model/float_product.h"

#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

using ProductFn = void (*)(const at::Tensor&, const at::Tensor&, FactorForm, bool, const at::Tensor&);

struct Factors {
  at::Tensor a, b, exact_MN;
};
Factors MakeFactors(FactorForm form, int64_t m, int64_t n, int64_t k) {
  const bool left = form == FactorForm::kLeftTransposed, right = form == FactorForm::kRightTransposed;
  Factors f{TestTensor(left ? std::vector<int64_t>{k, m} : std::vector<int64_t>{m, k}, 1, at::kBFloat16),
            TestTensor(right ? std::vector<int64_t>{n, k} : std::vector<int64_t>{k, n}, 2, at::kBFloat16),
            {}};
  const at::Tensor a = f.a.to(at::kDouble), b = f.b.to(at::kDouble);
  f.exact_MN = at::mm(left ? a.t() : a, right ? b.t() : b);
  return f;
}

void ExpectExactSums(ProductFn product, bool only_whole_depth) {
  for (const FactorForm form : {FactorForm::kPlain, FactorForm::kRightTransposed, FactorForm::kLeftTransposed}) {
    for (const int64_t m : {1, 7, 12, 33, 100}) {
      for (const int64_t n : {1, 16, 40, 96}) {
        for (const int64_t k : {1, 31, 32, 64, 129}) {
          if (only_whole_depth && form != FactorForm::kLeftTransposed && k % 32 != 0) continue;
          const Factors f = MakeFactors(form, m, n, k);
          at::Tensor out = at::full({m, n}, -7.0f), sum = TestTensor({m, n}, 5), before = sum.clone();
          product(f.a, f.b, form, false, out);
          product(f.a, f.b, form, true, sum);
          EXPECT_LE(RelativeError(out, f.exact_MN), 2e-6) << m << " x " << n << " x " << k;
          EXPECT_LE(RelativeError(sum - before, f.exact_MN), 2e-5) << m << " x " << n << " x " << k;
        }
      }
    }
  }
  // Negative control: factors of another seed are noticed.
  const Factors f = MakeFactors(FactorForm::kPlain, 8, 32, 64);
  at::Tensor out = at::empty({8, 32}, at::kFloat);
  product(f.a, f.b.flip(1).contiguous(), FactorForm::kPlain, false, out);
  EXPECT_GT(RelativeError(out, f.exact_MN), 0.1);
}

// A right factor that is laid out once gives what laying it out for each product gives.
TEST(FloatProduct, PanelsServeSeveralProducts) {
  for (const FactorForm form : {FactorForm::kPlain, FactorForm::kRightTransposed}) {
    const Factors f = MakeFactors(form, 33, 40, 64);
    const at::Tensor panels = RightPanels(f.b, form);
    if (!panels.defined()) GTEST_SKIP() << "no bf16 instruction but the matrix unit's";
    at::Tensor once = at::empty({33, 40}, at::kFloat), whole = at::empty({33, 40}, at::kFloat);
    ProductToFloat(f.a, f.b, form, false, whole);
    for (const int64_t first : {0, 20}) {
      const int64_t rows = first == 0 ? 20 : 13;
      PanelProductToFloat(f.a.narrow(0, first, rows), panels, false, once.narrow(0, first, rows));
    }
    EXPECT_TRUE(at::equal(once, whole));
    EXPECT_FALSE(RightPanels(MakeFactors(form, 8, 40, 33).b, form).defined());
  }
}

TEST(FloatProduct, OfTheLibraryEqualsExactSums) { ExpectExactSums(LibraryProductToFloat, false); }
TEST(FloatProduct, AsItIsChosenEqualsExactSums) { ExpectExactSums(ProductToFloat, false); }
TEST(FloatProduct, OfOurPanelsEqualsExactSums) {
  if (!CanTileProductToFloat(at::empty({32, 32}, at::kBFloat16), FactorForm::kPlain))
    GTEST_SKIP() << "no bf16 instruction but the matrix unit's";
  ExpectExactSums(TileProductToFloat, true);
}

// So many rows, and so deep, that a product is made part by part (tall, then deep, then both).
TEST(FloatProduct, PartsOfALargeProductAddUp) {
  for (const auto& [m, k] : {std::pair<int64_t, int64_t>{700, 576}, {5, 4160}, {230, 5152}}) {
    const Factors f = MakeFactors(FactorForm::kRightTransposed, m, 40, k);
    at::Tensor out = at::full({m, 40}, -7.0f), sum = TestTensor({m, 40}, 5), before = sum.clone();
    ProductToFloat(f.a, f.b, FactorForm::kRightTransposed, false, out);
    ProductToFloat(f.a, f.b, FactorForm::kRightTransposed, true, sum);
    EXPECT_LE(RelativeError(out, f.exact_MN), 2e-6) << m << " x " << k;
    EXPECT_LE(RelativeError(sum - before, f.exact_MN), 2e-5) << m << " x " << k;
  }
}

}  // namespace
}  // namespace candor
