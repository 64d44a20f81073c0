// Batched attention over grids. Legend: S, Q, T of a grid; K kv heads, G query heads that share one, d head size. Products run over S * K
// matrices whose rows are the G * Q queries of one kv head, so keys are never repeated for grouped queries.
#include "model/portable/attention.h"

#include <array>
#include <cmath>
#include <limits>

#include "model/device.h"
#include "model/portable/portable.h"

namespace candor::portable {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Shape {
  int64_t kv_heads, group, head_dim;
};
Shape ShapeOf(const at::Tensor& q_NHd, int64_t kv_heads) { return {kv_heads, q_NHd.size(1) / kv_heads, q_NHd.size(2)}; }
double ScaleOf(const Shape& shape) { return 1.0 / std::sqrt(static_cast<double>(static_cast<float>(shape.head_dim))); }

struct Keys {
  at::Tensor keys_dT;    // [S * K, d, T] fp32
  at::Tensor values_Td;  // [S * K, T, d] fp32
};

// Rows [N, H, d] of the flat batch -> fp32 [S * K, G * Q, d].
at::Tensor ToGrid(const at::Tensor& x_NHd, const SequenceGrid& grid, const Shape& shape) {
  return x_NHd.index_select(0, grid.query_rows_SQ)
      .to(at::kFloat)
      .view({grid.sequences, grid.queries, shape.kv_heads, shape.group, shape.head_dim})
      .permute({0, 2, 3, 1, 4})
      .reshape({grid.sequences * shape.kv_heads, shape.group * grid.queries, shape.head_dim});
}

// The reverse: [S * K, G * Q, X] -> [S * Q, H, X].
at::Tensor FromGrid(const at::Tensor& x, const SequenceGrid& grid, const Shape& shape) {
  return x.view({grid.sequences, shape.kv_heads, shape.group, grid.queries, x.size(2)})
      .permute({0, 3, 1, 2, 4})
      .reshape({grid.sequences * grid.queries, shape.kv_heads * shape.group, x.size(2)});
}

Keys GatherRows(const at::Tensor& k_NKd, const at::Tensor& v_NKd, const SequenceGrid& grid, const Shape& shape) {
  const auto gather = [&](const at::Tensor& x_NKd, at::IntArrayRef order) {
    return x_NKd.index_select(0, grid.sources)
        .to(at::kFloat)
        .view({grid.sequences, grid.keys, shape.kv_heads, shape.head_dim})
        .permute(order)
        .flatten(0, 1)
        .contiguous();
  };
  return {gather(k_NKd, {0, 2, 3, 1}), gather(v_NKd, {0, 2, 1, 3})};
}

Keys GatherBlocks(const at::Tensor& keys_BKdt, const at::Tensor& values_BKtd, const SequenceGrid& grid, const Shape& shape) {
  const int64_t blocks = grid.keys / kBlockTokens, matrices = grid.sequences * shape.kv_heads;
  const at::Tensor keys = keys_BKdt.index_select(0, grid.sources)
                              .view({grid.sequences, blocks, shape.kv_heads, shape.head_dim, kBlockTokens})
                              .permute({0, 2, 3, 1, 4})
                              .reshape({matrices, shape.head_dim, grid.keys});
  const at::Tensor values = values_BKtd.index_select(0, grid.sources)
                                .view({grid.sequences, blocks, shape.kv_heads, kBlockTokens, shape.head_dim})
                                .permute({0, 2, 1, 3, 4})
                                .reshape({matrices, grid.keys, shape.head_dim});
  return {keys.to(at::kFloat), values.to(at::kFloat)};
}

// Scores [S * K, G * Q, T]; -infinity where the key is hidden.
at::Tensor MaskedScores(const at::Tensor& q, const at::Tensor& keys_dT, const SequenceGrid& grid, const Shape& shape) {
  at::Tensor scores = at::bmm(q, keys_dT);
  scores.view({grid.sequences, shape.kv_heads, shape.group, grid.queries, grid.keys})
      .masked_fill_(grid.hidden_SQT.view({grid.sequences, 1, 1, grid.queries, grid.keys}), -kInfinity);
  return scores;
}

struct GridResult {
  at::Tensor out;          // [S * Q, H, d] fp32
  at::Tensor log_sum_exp;  // [S * Q, H, 1]
};
GridResult AttendGrid(const at::Tensor& q_NHd, const Keys& keys, const SequenceGrid& grid, const Shape& shape) {
  const at::Tensor q = ToGrid(q_NHd, grid, shape).mul_(ScaleOf(shape));
  at::Tensor weights = MaskedScores(q, keys.keys_dT, grid, shape);
  const at::Tensor log_sum_exp = at::logsumexp(weights, {2}, /*keepdim=*/true);
  weights.sub_(log_sum_exp).exp_();
  return {FromGrid(at::bmm(weights, keys.values_Td), grid, shape), FromGrid(log_sum_exp, grid, shape)};
}

// Rows of all grids, one after the other, back in the order of the flat batch.
at::Tensor ToRows(const std::vector<at::Tensor>& grids, const SequencePlan& plan) {
  return (grids.size() == 1 ? grids[0] : at::cat(grids)).index_select(0, plan.place_N);
}

}  // namespace

SequencePlan PlanPacked(const PackedGroups& batch, const at::Device& device) {
  std::vector<Sequence> sequences;
  std::vector<std::array<RowRange, 3>> seen;  // of each sequence, in position order: common beginning, prompt, its own rows
  const auto add = [&](RowRange common, RowRange prompt, RowRange own) {
    sequences.push_back({own.begin, own.size(), common.size() + prompt.size()}), seen.push_back({common, prompt, own});
  };
  if (batch.common.size() > 0) add({}, {}, batch.common);
  for (const PackedGroup& group : batch.groups) {
    add(batch.common, {}, group.prompt);
    for (const RowRange& answer : group.answers) add(batch.common, group.prompt, answer);
  }
  const auto append = [&](size_t i, int64_t keys, std::vector<int64_t>& sources) {
    const size_t end = sources.size() + static_cast<size_t>(keys);
    for (const RowRange& range : seen[i])
      for (int64_t row = range.begin; row < range.end; ++row) sources.push_back(row);
    sources.resize(end, 0);
  };
  return PlanSequences(sequences, batch.rows(), 1, append, device);
}

const SequencePlan& PlanOf(const PackedGroups& batch, const at::Device& device) {
  if (!batch.plan) batch.plan = std::make_shared<const SequencePlan>(PlanPacked(batch, device));
  return *batch.plan;
}

at::Tensor PackedAttention(const at::Tensor& q_NHd, const at::Tensor& k_NKd, const at::Tensor& v_NKd, const SequencePlan& plan,
                           AttentionSaved* saved) {
  const Shape shape = ShapeOf(q_NHd, k_NKd.size(1));
  std::vector<at::Tensor> outs, sums;
  for (const SequenceGrid& grid : plan.grids) {
    GridResult result = AttendGrid(q_NHd, GatherRows(k_NKd, v_NKd, grid, shape), grid, shape);
    outs.push_back(result.out.to(q_NHd.scalar_type()));
    if (saved) sums.push_back(result.log_sum_exp.squeeze(2));
  }
  if (saved) saved->log_sum_exp_NH = ToRows(sums, plan);
  return ToRows(outs, plan);
}

AttentionGradients PackedAttentionBackward(const at::Tensor& dout_NHd, const at::Tensor& q_NHd, const at::Tensor& k_NKd,
                                           const at::Tensor& v_NKd, const at::Tensor& out_NHd, const SequencePlan& plan,
                                           const AttentionSaved& saved) {
  const Shape shape = ShapeOf(q_NHd, k_NKd.size(1)), one{shape.kv_heads, shape.group, 1};
  const double scale = ScaleOf(shape);
  const auto fp32 = q_NHd.options().dtype(at::kFloat);
  AttentionGradients gradients{{}, at::zeros(k_NKd.sizes(), fp32), at::zeros(v_NKd.sizes(), fp32)};
  const at::Tensor delta_NH1 = (dout_NHd.to(at::kFloat) * out_NHd.to(at::kFloat)).sum(2, /*keepdim=*/true);
  std::vector<at::Tensor> dqs;
  for (const SequenceGrid& grid : plan.grids) {
    const Keys keys = GatherRows(k_NKd, v_NKd, grid, shape);
    const at::Tensor q = ToGrid(q_NHd, grid, shape).mul_(scale), dout = ToGrid(dout_NHd, grid, shape);
    // Queries of the padding get an infinite sum, so that their weights, and all that they add, are 0.
    at::Tensor log_sum_exp = ToGrid(saved.log_sum_exp_NH.unsqueeze(2), grid, one);
    log_sum_exp.view({grid.sequences, shape.kv_heads, shape.group, grid.queries})
        .masked_fill_(grid.padding_SQ.view({grid.sequences, 1, 1, grid.queries}), kInfinity);
    const at::Tensor weights = MaskedScores(q, keys.keys_dT, grid, shape).sub_(log_sum_exp).exp_();
    const at::Tensor dscores = at::bmm(dout, keys.values_Td.transpose(1, 2)).sub_(ToGrid(delta_NH1, grid, one)).mul_(weights);
    dqs.push_back(FromGrid(at::bmm(dscores, keys.keys_dT.transpose(1, 2)).mul_(scale), grid, shape));
    const auto add = [&](const at::Tensor& d_Td, const at::Tensor& sum_NKd) {
      const at::Tensor rows = d_Td.view({grid.sequences, shape.kv_heads, grid.keys, shape.head_dim}).permute({0, 2, 1, 3}).flatten(0, 1);
      AddRowsInto(rows, grid.sources, sum_NKd);
    };
    add(at::bmm(dscores.transpose(1, 2), q), gradients.dk_NKd);
    add(at::bmm(weights.transpose(1, 2), dout), gradients.dv_NKd);
  }
  gradients.dq_NHd = ToRows(dqs, plan);
  return gradients;
}

PagedPlan PlanPaged(const PagedStep& step, const at::Device& device) {
  std::vector<Sequence> sequences;
  for (const PagedQuery& query : step.queries) sequences.push_back({query.row_begin, query.rows, query.first_position});
  const auto append = [&](size_t i, int64_t keys, std::vector<int64_t>& sources) {
    const size_t end = sources.size() + static_cast<size_t>(keys / kBlockTokens);
    for (int64_t key = 0; key < sequences[i].keys(); key += kBlockTokens)
      sources.push_back(step.block_table[static_cast<size_t>(step.queries[i].table_begin + key / kBlockTokens)]);
    sources.resize(end, 0);
  };
  PagedPlan plan{PlanSequences(sequences, static_cast<int64_t>(step.slots_N.size()), kBlockTokens, append, device), {}, {}, {}};
  std::vector<int64_t> rows, blocks, lanes;
  for (size_t n = 0; n < step.slots_N.size(); ++n) {
    if (step.slots_N[n] < 0) continue;
    rows.push_back(static_cast<int64_t>(n)), blocks.push_back(step.slots_N[n] / kBlockTokens),
        lanes.push_back(step.slots_N[n] % kBlockTokens);
  }
  if (rows.size() < step.slots_N.size()) plan.stored_rows_M = ToDevice(rows, device);
  plan.blocks_M = ToDevice(blocks, device), plan.lanes_M = ToDevice(lanes, device);
  return plan;
}

void StoreKeyValues(const at::Tensor& k_NKd, const at::Tensor& v_NKd, const PagedPlan& plan, const at::Tensor& keys_BKdt,
                    const at::Tensor& values_BKtd) {
  const auto stored = [&](const at::Tensor& x) { return plan.stored_rows_M.defined() ? x.index_select(0, plan.stored_rows_M) : x; };
  keys_BKdt.permute({0, 3, 1, 2}).index_put_({plan.blocks_M, plan.lanes_M}, stored(k_NKd));
  values_BKtd.permute({0, 2, 1, 3}).index_put_({plan.blocks_M, plan.lanes_M}, stored(v_NKd));
}

at::Tensor PagedAttention(const at::Tensor& q_NHd, const at::Tensor& keys_BKdt, const at::Tensor& values_BKtd, const PagedPlan& plan) {
  const Shape shape = ShapeOf(q_NHd, keys_BKdt.size(1));
  std::vector<at::Tensor> outs;
  for (const SequenceGrid& grid : plan.sequences.grids)
    outs.push_back(AttendGrid(q_NHd, GatherBlocks(keys_BKdt, values_BKtd, grid, shape), grid, shape).out.to(q_NHd.scalar_type()));
  return ToRows(outs, plan.sequences);
}

}  // namespace candor::portable
