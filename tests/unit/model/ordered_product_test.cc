// Deterministic mode's products: a row's bits depend on nothing but the row, forward and backward; sums over rows have one order.
#include "model/ordered_product.h"

#include "model/kernels/kernels.h"
#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

constexpr Numerics kDeterministic{DType::kFp32, true};
constexpr int64_t kIn = 613, kOut = 77, kRows = 80;  // beyond one run of k, beyond whole panels and tiles

class Threads {
 public:
  explicit Threads(int count) : before_(at::get_num_threads()) { at::set_num_threads(count); }
  ~Threads() { at::set_num_threads(before_); }

 private:
  int before_;
};

at::Tensor Rows(const at::Tensor& x, int64_t first, int64_t count) { return x.narrow(0, first, count).contiguous(); }

// Compares f of every batch of 1 to 67 rows, at several places of the whole, on one and two threads, with the same rows of f(whole).
template <typename F>
int64_t CountDifferentBatches(const at::Tensor& whole, const F& f) {
  const at::Tensor want = f(whole);
  int64_t different = 0;
  for (int threads : {1, 2}) {
    const Threads scope(threads);
    for (int64_t rows = 1; rows <= 67; ++rows)
      for (int64_t first : {int64_t{0}, int64_t{1}, int64_t{5}, kRows - rows})
        different += at::equal(f(Rows(whole, first, rows)), Rows(want, first, rows)) ? 0 : 1;
  }
  return different;
}

TEST(OrderedProduct, ARowDoesNotDependOnTheRowsBesideIt) {
  const Linear plain{TestTensor({kOut, kIn}, 1), TestTensor({kOut}, 2), {}};
  Linear packed = plain;
  PackLinear(packed, 64, kDeterministic);
  ASSERT_TRUE(packed.packed.defined());
  const at::Tensor x = TestTensor({kRows, kIn}, 3), dy = TestTensor({kRows, kOut}, 4), residual = TestTensor({kRows, kOut}, 5);
  const auto add_to = [&](const at::Tensor& rows) {  // the residual's row must belong to the row
    at::Tensor sum = at::empty({rows.size(0), kOut});
    sum.copy_(rows.narrow(1, 0, kOut));
    ApplyAdd(plain, rows, sum, kDeterministic);
    return sum;
  };
  const auto to_float = [&](const at::Tensor& rows) {
    at::Tensor out = at::empty({rows.size(0), kOut});
    ApplyToFloat(packed, rows, out, kDeterministic);
    return out;
  };
  EXPECT_EQ(CountDifferentBatches(x, [&](const at::Tensor& rows) { return Apply(plain, rows, kDeterministic); }), 0);
  EXPECT_EQ(CountDifferentBatches(x, [&](const at::Tensor& rows) { return Apply(packed, rows, kDeterministic); }), 0);
  EXPECT_EQ(CountDifferentBatches(x, add_to), 0);
  EXPECT_EQ(CountDifferentBatches(x, to_float), 0);
  EXPECT_EQ(CountDifferentBatches(dy, [&](const at::Tensor& rows) { return InputGradient(plain, rows, kDeterministic); }), 0);
  EXPECT_TRUE(at::equal(Apply(plain, x, kDeterministic), Apply(packed, x, kDeterministic)));
}

// Negative control: a product that cuts k by the number of rows, as libraries do, is noticed.
TEST(OrderedProduct, AnOrderThatFollowsTheBatchIsNoticed) {
  const Linear linear{TestTensor({kOut, kIn}, 1), {}, {}};
  const at::Tensor x = TestTensor({kRows, kIn}, 3);
  const auto cut = [&](const at::Tensor& rows) {
    const int64_t first = rows.size(0) < 16 ? kIn / 2 : kIn;
    at::Tensor out = at::empty({rows.size(0), kOut});
    OrderedProduct(rows.size(0), kOut, first, View(rows), ColumnPanels(Transposed(View(linear.weight_OI))), false,
                   out.mutable_data_ptr<float>());
    FloatMatrix a = View(rows), b = Transposed(View(linear.weight_OI));
    a.data += first, b.data += first;
    OrderedProduct(rows.size(0), kOut, kIn - first, a, ColumnPanels(b), true, out.mutable_data_ptr<float>());
    return out;
  };
  EXPECT_GT(CountDifferentBatches(x, cut), 0);
}

TEST(OrderedProduct, EqualsExactSums) {
  const Linear linear{TestTensor({kOut, kIn}, 1), TestTensor({kOut}, 2), {}};
  for (int64_t rows : {0, 1, 2, 13, 1000}) {
    const at::Tensor x = TestTensor({rows, kIn}, 3), dy = TestTensor({rows, kOut}, 4);
    const at::Tensor x64 = x.to(at::kDouble), dy64 = dy.to(at::kDouble), w64 = linear.weight_OI.to(at::kDouble);
    EXPECT_LE(RelativeError(Apply(linear, x, kDeterministic), at::mm(x64, w64.t()) + linear.bias_O.to(at::kDouble)), 1e-6) << rows;
    EXPECT_LE(RelativeError(InputGradientFloat(linear, dy, kDeterministic), at::mm(dy64, w64)), 1e-6) << rows;
    const Linear grad{at::ones({kOut, kIn}), at::ones({kOut}), {}};
    AddWeightGradient(x, dy, grad, kDeterministic);
    EXPECT_LE(RelativeError(grad.weight_OI, 1 + at::mm(dy64.t(), x64)), 1e-6) << rows;
    EXPECT_LE(RelativeError(grad.bias_O, 1 + dy64.sum(0)), 1e-6) << rows;
  }
}

TEST(OrderedProduct, GradientsOfWeightsDoNotDependOnThreads) {
  const at::Tensor x = TestTensor({1500, 70}, 3), dy = TestTensor({1500, 900}, 4);
  std::vector<at::Tensor> weights, biases;
  for (int threads : {1, 2, 3}) {
    const Threads scope(threads);
    const Linear grad{at::ones({900, 70}), at::ones({900}), {}};
    AddWeightGradient(x, dy, grad, kDeterministic);
    weights.push_back(grad.weight_OI), biases.push_back(grad.bias_O);
  }
  for (size_t i = 1; i < weights.size(); ++i) {
    EXPECT_TRUE(at::equal(weights[0], weights[i]));
    EXPECT_TRUE(at::equal(biases[0], biases[i]));
  }
}

TEST(OrderedProduct, EveryInstructionSetKeepsRowsApart) {
  constexpr int64_t kDepth = 200;
  const at::Tensor a = TestTensor({40, kDepth}, 1), b = TestTensor({50, kDepth}, 2), packed = PackPanels(b);
  const at::Tensor exact = at::mm(a.to(at::kDouble), b.to(at::kDouble).t());
  for (const Kernels& kernels : AllKernels()) {
    const auto product = [&](int64_t first, int64_t rows) {
      at::Tensor c = at::empty({rows, 50});
      kernels.product({a.const_data_ptr<float>() + first * kDepth, kDepth, 1, packed.const_data_ptr<float>(), kDepth * kProductColumns,
                       c.mutable_data_ptr<float>(), 50, rows, 50, kDepth, false});
      return c;
    };
    const at::Tensor all = product(0, 40);
    EXPECT_LE(RelativeError(all, exact), 1e-6) << kernels.instruction_set;
    for (int64_t rows = 1; rows <= 30; ++rows)
      EXPECT_TRUE(at::equal(product(7, rows), Rows(all, 7, rows))) << kernels.instruction_set << " " << rows;
  }
}

TEST(OrderedProduct, TheSelfTestPasses) {
  EXPECT_TRUE(SelfTestRowInvariance(48, 40, 70));
  EXPECT_TRUE(SelfTestRowInvariance(576, 1536, 49152));
}

}  // namespace
}  // namespace candor
