// Every portable operator on CPU tensors against the CPU kernels, in both formats. The bound of bf16 is one rounding of a result (2^-8
// relative) of the largest element.
#include "model/portable/portable.h"

#include "model/norm.h"
#include "model/portable/attention.h"
#include "model/portable/head.h"
#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

constexpr at::ScalarType kBoth[] = {at::kFloat, at::kBFloat16};

// The largest difference, relative to the largest number of `want`.
double Difference(const at::Tensor& got, const at::Tensor& want) {
  EXPECT_EQ(got.scalar_type(), want.scalar_type());
  EXPECT_EQ(got.sizes(), want.sizes());
  return MaxAbs(got.to(at::kDouble) - want.to(at::kDouble)) / std::max(1e-30, MaxAbs(want.to(at::kDouble)));
}
double Limit(at::ScalarType type) { return type == at::kFloat ? 3e-6 : 1.0 / 128; }

TEST(Portable, NormEqualsTheKernel) {
  for (at::ScalarType type : kBoth) {
    const at::Tensor x = TestTensor({9, 48}, 1) * 3, w = TestTensor({48}, 2, type) + 1, dy = TestTensor({9, 48}, 3);
    at::Tensor rstd, want_rstd;
    const at::Tensor y = portable::RmsNorm(x, w, 1e-5, &rstd), want = RmsNorm(x, w, 1e-5, &want_rstd);
    EXPECT_LE(Difference(y, want), Limit(type));
    EXPECT_LE(Difference(rstd, want_rstd), 3e-6);
    EXPECT_GT(Difference(portable::RmsNorm(x, w, 1e-2, nullptr), want), Limit(type) / 100)
        << "the control: another epsilon is another norm";
    at::Tensor dx = TestTensor({9, 48}, 4), dw = TestTensor({48}, 5), want_dx = dx.clone(), want_dw = dw.clone();
    portable::AddRmsNormBackward(dy, x, w, rstd, dx, dw);
    AddRmsNormBackward(dy, x, w, want_rstd, want_dx, want_dw);
    EXPECT_LE(Difference(dx, want_dx), 3e-6);
    EXPECT_LE(Difference(dw, want_dw), 3e-6);
  }
}

// A whole block, because rotation and SwiGLU have no function of their own on the CPU: the CPU's products with portable operators between.
TEST(Portable, RotationAndHeadNormEqualTheKernel) {
  for (at::ScalarType type : kBoth) {
    const ModelConfig config = TinyConfig(Family::kQwen3);
    const int64_t d = config.head_dim, half = d / 2;
    RopeTable rope(config);
    rope.Reserve(50);
    const std::vector<int32_t> positions = {0, 3, 49, 17};
    const portable::Angles angles = rope.RowsOn(at::kCPU, positions);
    const at::Tensor x = TestTensor({4, 6, d}, 1, type), in = x.to(at::kFloat), w = TestTensor({d}, 2, type) + 1,
                     dy = TestTensor({4, 6, d}, 3);
    for (const at::Tensor& norm : {w, at::Tensor()}) {
      const at::Tensor y = portable::HeadNormRope(x, norm, 1e-6, angles, type);
      at::Tensor want = at::empty_like(x), want_dx = at::empty_like(x), dw = at::zeros({d}), want_dw = at::zeros({d});
      const TypedKernels& kernels = TypedKernelsOf(x);
      const void* norm_data = norm.defined() ? norm.const_data_ptr() : nullptr;
      const int64_t row = 6 * d * static_cast<int64_t>(x.element_size());
      for (size_t n = 0; n < 4; ++n) {
        const auto at_row = [&](const at::Tensor& t) { return static_cast<char*>(t.data_ptr()) + static_cast<int64_t>(n) * row; };
        const float *cos = rope.cos() + positions[n] * half, *sin = rope.sin() + positions[n] * half;
        const float* in_row = in.const_data_ptr<float>() + static_cast<int64_t>(n) * 6 * d;
        kernels.head_norm_rope(in_row, at_row(want), 6, d, norm_data, 1e-6f, cos, sin);
        kernels.head_norm_rope_backward(dy.const_data_ptr<float>() + static_cast<int64_t>(n) * 6 * d, norm_data ? in_row : nullptr,
                                        at_row(want_dx), 6, d, norm_data, 1e-6f, want_dw.mutable_data_ptr<float>(), cos, sin);
      }
      EXPECT_LE(Difference(y, want), Limit(type));
      const at::Tensor dx = portable::HeadNormRopeBackward(dy, x, norm, 1e-6, angles, dw).to(type);
      EXPECT_LE(Difference(dx, want_dx), Limit(type));
      if (norm.defined()) {
        EXPECT_LE(Difference(dw, want_dw), 1e-5);
      }
      EXPECT_GT(Difference(portable::HeadNormRope(x, norm, 1e-6, rope.RowsOn(at::kCPU, {0, 3, 48, 17}), type), want), Limit(type))
          << "the control: another position is another rotation";
    }
  }
}

TEST(Portable, SwiGluEqualsTheKernel) {
  for (at::ScalarType type : kBoth) {
    const at::Tensor gate_up = TestTensor({5, 80}, 1, type) * 4, dout = TestTensor({5, 40}, 2, type);
    at::Tensor want = at::empty({5, 40}, dout.options()), want_gradient = at::empty_like(gate_up);
    const TypedKernels& kernels = TypedKernelsOf(gate_up);
    const at::Tensor unrounded = gate_up.to(at::kFloat);
    kernels.swiglu(unrounded.const_data_ptr<float>(), want.mutable_data_ptr(), 5, 40);
    kernels.swiglu_backward(dout.const_data_ptr(), gate_up.const_data_ptr(), want_gradient.mutable_data_ptr(), 5, 40);
    EXPECT_LE(Difference(portable::SwiGlu(gate_up, type), want), Limit(type));
    EXPECT_LE(Difference(portable::SwiGluBackward(dout, gate_up), want_gradient), Limit(type));
  }
}

TEST(Portable, ProductsEqualTheCpus) {
  for (at::ScalarType type : kBoth) {
    const Linear linear{TestTensor({24, 48}, 1, type), TestTensor({24}, 2, type), {}};
    const at::Tensor x = TestTensor({7, 48}, 3, type), dy = TestTensor({7, 24}, 4, type);
    at::Tensor sum = TestTensor({7, 24}, 5), want_sum = sum.clone(), out = at::empty({7, 24}), want_out = at::empty({7, 24});
    portable::ApplyAdd(linear, x, sum), ApplyAdd(linear, x, want_sum, {});
    EXPECT_LE(Difference(sum, want_sum), 3e-6);
    portable::ApplyToFloat(linear, x, out), ApplyToFloat(linear, x, want_out, {});
    EXPECT_LE(Difference(out, want_out), 3e-6);
    EXPECT_LE(Difference(portable::InputGradientFloat(linear, dy), InputGradientFloat(linear, dy, {})), 3e-6);
    const Linear grad{at::ones({24, 48}), at::ones({24}), {}}, want_grad{at::ones({24, 48}), at::ones({24}), {}};
    portable::AddWeightGradient(x, dy, grad), AddWeightGradient(x, dy, want_grad, {});
    EXPECT_LE(Difference(grad.weight_OI, want_grad.weight_OI), 3e-6);
    EXPECT_LE(Difference(grad.bias_O, want_grad.bias_O), 3e-6);
  }
}

TEST(Portable, PackedAttentionEqualsTheKernel) {
  PackedGroups many = TestBatch(50);  // sequences of very different sizes: several grids
  ASSERT_TRUE(many.Add(TestIds(700, 8, 50), {TestIds(300, 9, 50), TestIds(2, 3, 50)}));
  EXPECT_GT(portable::PlanPacked(many, at::kCPU).grids.size(), 1u);
  for (const auto& [batch, heads] : {std::pair{TestBatch(50), 6}, std::pair{many, 2}, std::pair{CommonBatch(50), 6}}) {
    for (at::ScalarType type : kBoth) {
      const at::Tensor q = TestTensor({batch.rows(), heads, 16}, 1, type) * 2, k = TestTensor({batch.rows(), heads / 2, 16}, 2, type),
                       v = TestTensor({batch.rows(), heads / 2, 16}, 3, type), dout = TestTensor({batch.rows(), heads, 16}, 4, type);
      AttentionSaved saved, want_saved;
      const portable::SequencePlan plan = portable::PlanPacked(batch, at::kCPU);
      const at::Tensor out = portable::PackedAttention(q, k, v, plan, &saved), want = PackedAttention(q, k, v, batch, &want_saved);
      EXPECT_LE(Difference(out, want), Limit(type));
      EXPECT_LE(Difference(saved.log_sum_exp_NH, want_saved.log_sum_exp_NH), 3e-6);
      const AttentionGradients gradients = portable::PackedAttentionBackward(dout, q, k, v, want, plan, saved),
                               want_gradients = PackedAttentionBackward(dout, q, k, v, want, batch, want_saved);
      EXPECT_LE(Difference(gradients.dq_NHd, want_gradients.dq_NHd), 1e-5);
      EXPECT_LE(Difference(gradients.dk_NKd, want_gradients.dk_NKd), 1e-5);
      EXPECT_LE(Difference(gradients.dv_NKd, want_gradients.dv_NKd), 1e-5);
      at::Tensor other = k.clone();
      other[0].mul_(1.1);
      EXPECT_GT(Difference(portable::PackedAttention(q, other, v, plan, nullptr), want), Limit(type)) << "the control: a key that differs";
    }
  }
}

TEST(Portable, PagedAttentionEqualsTheKernel) {
  for (at::ScalarType type : kBoth) {
    const at::Tensor q = TestTensor({23, 6, 16}, 1, type) * 2, k = TestTensor({23, 2, 16}, 2, type), v = TestTensor({23, 2, 16}, 3, type);
    const at::Tensor keys = TestTensor({12, 2, 16, kBlockTokens}, 4, type), values = TestTensor({12, 2, kBlockTokens, 16}, 5, type),
                     want_keys = keys.clone(), want_values = values.clone();
    // A prompt's second piece (20 rows behind 5), two decoding sequences and one with two pending tokens that are not stored.
    PagedStep step{{}, {{0, 20, 5, 0}, {20, 1, 40, 2}, {21, 2, 14, 5}}, {7, 2, 9, 1, 0, 11}};
    for (int64_t p = 5; p < 25; ++p) step.slots_N.push_back(step.block_table[static_cast<size_t>(p / 16)] * 16 + p % 16);
    step.slots_N.insert(step.slots_N.end(), {0 * 16 + 8, -1, -1});
    const portable::PagedPlan plan = portable::PlanPaged(step, at::kCPU);
    portable::StoreKeyValues(k, v, plan, keys, values), StoreKeyValues(k, v, step, want_keys, want_values);
    EXPECT_TRUE(at::equal(keys, want_keys) && at::equal(values, want_values));
    const at::Tensor want = PagedAttention(q, want_keys, want_values, step);
    EXPECT_LE(Difference(portable::PagedAttention(q, keys, values, plan), want), Limit(type));
    keys.select(0, 7).mul_(1.5);
    EXPECT_GT(Difference(portable::PagedAttention(q, keys, values, plan), want), Limit(type)) << "the control: a block that differs";
  }
}

TEST(Portable, HeadEqualsTheKernel) {
  for (at::ScalarType type : kBoth) {
    const int64_t vocab_size = 70, width = 48;
    const Linear head{TestTensor({vocab_size, width}, 1, type), {}, {}};
    const at::Tensor hidden = TestTensor({5, width}, 2, type);
    const std::vector<int32_t> targets = {3, 3, 69, 0, 12}, extra = {7, 20};
    at::Tensor dlog_probs = TestTensor({5}, 3), dselected = TestTensor({5, 2}, 4);
    dlog_probs[1] = 0.0, dselected[1].fill_(0.0);  // a row without a gradient
    const TokenScores scores = portable::ComputeTokenLogProbs(head, hidden, targets, extra, true),
                      want = ComputeTokenLogProbs(head, hidden, targets, extra, {}, 0, true);
    EXPECT_LE(Difference(scores.log_probs_M, want.log_probs_M), 3e-6);
    EXPECT_LE(Difference(scores.entropy_M, want.entropy_M), 1e-5);
    EXPECT_LE(Difference(scores.selected_ME, want.selected_ME), 3e-6);
    EXPECT_TRUE(at::equal(scores.ranks_M, want.ranks_M)) << scores.ranks_M << want.ranks_M;
    const Linear grad{at::zeros({vocab_size, width}), {}, {}}, want_grad{at::zeros({vocab_size, width}), {}, {}};
    const at::Tensor got = portable::TokenLogProbsBackward(head, hidden, targets, extra, scores, dlog_probs, dselected, {0, 2, 3, 4}, grad);
    EXPECT_LE(Difference(got, TokenLogProbsBackward(head, hidden, targets, extra, want, dlog_probs, dselected, want_grad, {})),
              Limit(type));
    EXPECT_LE(Difference(grad.weight_OI, want_grad.weight_OI), Limit(type));
    EXPECT_EQ(MaxAbs(got[1]), 0.0);
  }
}

TEST(Portable, EmbeddingEqualsTheKernel) {
  for (at::ScalarType type : kBoth) {
    const at::Tensor table = TestTensor({20, 48}, 1, type), dx = TestTensor({4, 48}, 2);
    const std::vector<int32_t> ids = {3, 19, 3, 0};
    EXPECT_TRUE(at::equal(portable::SelectRowsAsFloat(table, ids), Embed(table, ids)));
    const at::Tensor grad = at::ones({20, 48}), want = at::ones({20, 48});
    portable::AddRowsInto(dx, at::tensor(at::ArrayRef<int64_t>({3, 19, 3, 0})), grad);
    EmbedBackward(dx, ids, want);
    EXPECT_LE(Difference(grad, want), 3e-6);
  }
}

}  // namespace
}  // namespace candor
