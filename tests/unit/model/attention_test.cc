// Attention against a naive twin in double precision, paged against packed bit for bit, and the backward against numeric gradients of the
// twin.
#include "model/kernels/kernels.h"
#include "tests/unit/model/tiny_model.h"

namespace candor {
namespace {

struct Inputs {
  at::Tensor q, k, v;
};
Inputs MakeInputs(int64_t rows, int64_t heads, int64_t kv_heads, int64_t d, at::ScalarType dtype) {
  return {TestTensor({rows, heads, d}, 1, dtype) * 2, TestTensor({rows, kv_heads, d}, 2, dtype), TestTensor({rows, kv_heads, d}, 3, dtype)};
}

// Rows that row `n` sees, in position order.
std::vector<int64_t> VisibleRows(const PackedGroups& batch, int64_t n) {
  std::vector<int64_t> rows;
  for (int64_t i = batch.common.begin; i < std::min(batch.common.end, n + 1); ++i) rows.push_back(i);
  for (const PackedGroup& group : batch.groups) {
    const auto in = [&](RowRange r) { return r.begin <= n && n < r.end; };
    if (in(group.prompt)) {
      for (int64_t i = group.prompt.begin; i <= n; ++i) rows.push_back(i);
    }
    for (const RowRange& answer : group.answers) {
      if (!in(answer)) continue;
      for (int64_t i = group.prompt.begin; i < group.prompt.end; ++i) rows.push_back(i);
      for (int64_t i = answer.begin; i <= n; ++i) rows.push_back(i);
    }
  }
  return rows;
}

at::Tensor NaiveAttention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const PackedGroups& batch) {
  const int64_t group = q.size(1) / k.size(1);
  std::vector<at::Tensor> out;
  for (int64_t n = 0; n < q.size(0); ++n) {
    const std::vector<int64_t> visible = VisibleRows(batch, n);
    const at::Tensor index = at::tensor(at::ArrayRef<int64_t>(visible), at::kLong);
    const at::Tensor keys = k.index_select(0, index).repeat_interleave(group, 1),
                     values = v.index_select(0, index).repeat_interleave(group, 1);
    const at::Tensor scores = (keys * q[n].unsqueeze(0)).sum(2) / std::sqrt(static_cast<double>(q.size(2)));
    out.push_back((at::softmax(scores, 0).unsqueeze(2) * values).sum(0));
  }
  return at::stack(out);
}

PackedGroups LongBatch() {  // crosses the 512-key step
  PackedGroups batch;
  EXPECT_TRUE(batch.Add(TestIds(505, 1, 50), {TestIds(20, 2, 50), TestIds(4, 3, 50)}));
  return batch;
}

TEST(PackedAttention, EqualsTheNaiveTwin) {
  const auto check = [](const PackedGroups& batch, const std::vector<std::array<int64_t, 3>>& shapes) {
    for (const auto& [heads, kv_heads, d] : shapes) {
      const Inputs in = MakeInputs(batch.rows(), heads, kv_heads, d, at::kFloat);
      const at::Tensor naive = NaiveAttention(in.q.to(at::kDouble), in.k.to(at::kDouble), in.v.to(at::kDouble), batch);
      EXPECT_LE(MaxAbs(PackedAttention(in.q, in.k, in.v, batch, nullptr).to(at::kDouble) - naive), 3e-6)
          << heads << "/" << kv_heads << "x" << d;
    }
  };
  check(TestBatch(50), {{6, 2, 16}, {4, 4, 64}, {14, 1, 80}, {3, 1, 128}});
  check(LongBatch(), {{2, 1, 16}});
  check(CommonBatch(50), {{6, 2, 16}, {3, 1, 128}});
}

TEST(PackedAttention, NoticesAKeyThatIsNotItsOwn) {
  const PackedGroups batch = TestBatch(50);
  Inputs in = MakeInputs(batch.rows(), 6, 2, 16, at::kFloat);
  const at::Tensor before = PackedAttention(in.q, in.k, in.v, batch, nullptr);
  const RowRange first = batch.groups[0].answers[0], other = batch.groups[0].answers[2];
  in.k[first.begin].fill_(3.0);
  const at::Tensor after = PackedAttention(in.q, in.k, in.v, batch, nullptr);
  EXPECT_TRUE(at::equal(before.narrow(0, other.begin, other.size()), after.narrow(0, other.begin, other.size())))
      << "answers do not see each other";
  EXPECT_FALSE(at::equal(before.narrow(0, first.begin, first.size()), after.narrow(0, first.begin, first.size())));
}

TEST(PackedAttention, BackwardEqualsAutogradOfTheTwin) {
  for (const auto& [batch, heads] : {std::pair{TestBatch(50), 6}, std::pair{LongBatch(), 2}, std::pair{CommonBatch(50), 6}}) {
    const Inputs in = MakeInputs(batch.rows(), heads, heads / 2, 16, at::kFloat);
    const at::Tensor dout = TestTensor({batch.rows(), heads, 16}, 9);
    AttentionSaved saved;
    const at::Tensor out = PackedAttention(in.q, in.k, in.v, batch, &saved);
    const AttentionGradients gradients = PackedAttentionBackward(dout, in.q, in.k, in.v, out, batch, saved);
    at::Tensor q = in.q.to(at::kDouble).requires_grad_(), k = in.k.to(at::kDouble).requires_grad_(),
               v = in.v.to(at::kDouble).requires_grad_();
    (NaiveAttention(q, k, v, batch) * dout).sum().backward();
    EXPECT_LE(RelativeError(gradients.dq_NHd, q.grad()), 1e-5);
    EXPECT_LE(RelativeError(gradients.dk_NKd, k.grad()), 1e-5);
    EXPECT_LE(RelativeError(gradients.dv_NKd, v.grad()), 1e-5);
    EXPECT_GT(RelativeError(gradients.dk_NKd * 1.001, k.grad()), 1e-5) << "the tolerance can fail";
  }
}

// One sequence through pages in scrambled order: prefill in two pieces, then token by token.
TEST(PagedAttention, EqualsPackedBitForBit) {
  PackedGroups batch;
  ASSERT_TRUE(batch.Add(TestIds(53, 1, 50), {}));
  for (at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
    const Inputs in = MakeInputs(53, 6, 2, 16, dtype);
    const at::Tensor packed = PackedAttention(in.q, in.k, in.v, batch, nullptr);
    const at::Tensor keys = at::full({9, 2, 16, kBlockTokens}, NAN, in.k.options()),
                     values = at::full({9, 2, kBlockTokens, 16}, NAN, in.k.options());
    const std::vector<int32_t> table = {7, 2, 8, 0};
    std::vector<at::Tensor> outputs;
    for (const auto& [begin, end] : std::vector<std::pair<int64_t, int64_t>>{{0, 20}, {20, 50}, {50, 51}, {51, 52}, {52, 53}}) {
      std::vector<int64_t> slots;
      for (int64_t p = begin; p < end; ++p) slots.push_back(table[static_cast<size_t>(p / kBlockTokens)] * kBlockTokens + p % kBlockTokens);
      const auto part = [&](const at::Tensor& x) { return x.narrow(0, begin, end - begin).contiguous(); };
      const PagedStep step{slots, {{0, end - begin, begin, 0}}, table};
      StoreKeyValues(part(in.k), part(in.v), step, keys, values);
      outputs.push_back(PagedAttention(part(in.q), keys, values, step));
    }
    EXPECT_TRUE(at::equal(at::cat(outputs), packed));
  }
}

}  // namespace
}  // namespace candor
