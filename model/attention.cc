// Spreads attention over threads: forward by (sequence, tile of queries, kv head); the packed form first lays its keys out in blocks, as a
// paged cache, and then is the paged form.
#include "model/attention.h"

#include <cmath>
#include <cstring>

#include "core/check.h"
#include "model/kernels/kernels.h"
#include "model/parallel.h"
#include "model/portable/attention.h"

namespace candor {
namespace {

const TypedKernels& KernelsOf(at::ScalarType type) {
  CANDOR_CHECK(type == at::kBFloat16 || type == at::kFloat, "bf16 or fp32");
  return type == at::kBFloat16 ? GetKernels().bf16 : GetKernels().fp32;
}

// Copies token rows into block slots; From and To are float or raw bf16.
template <typename From, typename To, typename Convert>
void StoreRows(const From* k, const From* v, const int64_t* rows, const int64_t* slots, int64_t count, int64_t kv_heads, int64_t head_dim,
               To* keys, To* values, const Convert& convert) {
  const int64_t width = kv_heads * head_dim, block_size = width * kBlockTokens;
  ParallelRows(count, width, [&](int64_t begin, int64_t end) {
    for (int64_t n = begin; n < end; ++n) {
      if (slots[n] < 0) continue;
      const int64_t block = slots[n] / kBlockTokens, lane = slots[n] % kBlockTokens;
      const From* k_row = k + rows[n] * width;
      const From* v_row = v + rows[n] * width;
      for (int64_t head = 0; head < kv_heads; ++head) {
        To* key = keys + block * block_size + head * head_dim * kBlockTokens + lane;
        To* value = values + block * block_size + head * head_dim * kBlockTokens + lane * head_dim;
        for (int64_t i = 0; i < head_dim; ++i) key[i * kBlockTokens] = convert(k_row[head * head_dim + i]);
        for (int64_t i = 0; i < head_dim; ++i) value[i] = convert(v_row[head * head_dim + i]);
      }
    }
  });
}

float Bf16ToFloat(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

struct Shape {
  int64_t heads, kv_heads, head_dim, group;
};
Shape ShapeOf(const at::Tensor& q_NHd, int64_t kv_heads) { return {q_NHd.size(1), kv_heads, q_NHd.size(2), q_NHd.size(1) / kv_heads}; }

// Queries of one tile: as many rows as fit with all query heads of a kv head; larger groups of heads are split.
struct TileTask {
  int64_t row_begin, rows, first_position, table_begin, kv_head, head_begin, heads;
};

std::vector<TileTask> PlanTiles(const std::vector<PagedQuery>& queries, const Shape& shape) {
  std::vector<TileTask> tasks;
  const int64_t heads_per_tile = std::min<int64_t>(shape.group, kAttentionTileRows);
  const int64_t rows_per_tile = std::max<int64_t>(1, kAttentionTileRows / heads_per_tile);
  for (const PagedQuery& query : queries) {
    for (int64_t kv_head = 0; kv_head < shape.kv_heads; ++kv_head) {
      for (int64_t head = 0; head < shape.group; head += heads_per_tile) {
        for (int64_t row = 0; row < query.rows; row += rows_per_tile) {
          tasks.push_back({query.row_begin + row, std::min(rows_per_tile, query.rows - row), query.first_position + row, query.table_begin,
                           kv_head, kv_head * shape.group + head, std::min(heads_per_tile, shape.group - head)});
        }
      }
    }
  }
  return tasks;
}

// Gathers the tile's queries, scaled, as fp32 [rows * heads, d].
void GatherRows(const at::Tensor& x_NHd, const TileTask& task, const Shape& shape, float scale, float* out) {
  const TypedKernels& kernels = KernelsOf(x_NHd.scalar_type());
  const char* data = static_cast<const char*>(x_NHd.const_data_ptr());
  for (int64_t row = 0; row < task.rows; ++row) {
    const int64_t offset = ((task.row_begin + row) * shape.heads + task.head_begin) * shape.head_dim;
    kernels.to_float(data + offset * x_NHd.element_size(), out + row * task.heads * shape.head_dim, task.heads * shape.head_dim, scale);
  }
}

struct CacheView {
  const char* keys;
  const char* values;
  int64_t element_size, block_stride, head_stride;
};

void RunTile(const TileTask& task, const Shape& shape, const at::Tensor& q_NHd, const CacheView& cache, const TypedKernels& kernels,
             const int32_t* block_table, const at::Tensor& out_NHd, float* log_sum_exp_NH) {
  alignas(64) float q[kAttentionTileRows * 256], out[kAttentionTileRows * 256];
  float log_sum_exp[kAttentionTileRows];
  int64_t seen[kAttentionTileRows];
  GatherRows(q_NHd, task, shape, 1.0f / std::sqrt(static_cast<float>(shape.head_dim)), q);
  for (int64_t row = 0; row < task.rows; ++row) {
    for (int64_t head = 0; head < task.heads; ++head) seen[row * task.heads + head] = task.first_position + row + 1;
  }
  const int64_t head_bytes = task.kv_head * cache.head_stride * cache.element_size;
  kernels.attention({q, seen, task.rows * task.heads, shape.head_dim, block_table + task.table_begin, cache.keys + head_bytes,
                     cache.values + head_bytes, cache.block_stride, out, log_sum_exp});
  const TypedKernels& out_kernels = KernelsOf(out_NHd.scalar_type());
  char* data = static_cast<char*>(out_NHd.mutable_data_ptr());
  for (int64_t row = 0; row < task.rows; ++row) {
    const int64_t first = (task.row_begin + row) * shape.heads + task.head_begin;
    out_kernels.from_float(out + row * task.heads * shape.head_dim, data + first * shape.head_dim * out_NHd.element_size(),
                           task.heads * shape.head_dim);
    if (log_sum_exp_NH)
      std::memcpy(log_sum_exp_NH + first, log_sum_exp + row * task.heads, static_cast<size_t>(task.heads) * sizeof(float));
  }
}

at::Tensor RunAttention(const at::Tensor& q_NHd, const at::Tensor& keys_BKdt, const at::Tensor& values_BKtd,
                        const std::vector<PagedQuery>& queries, const std::vector<int32_t>& block_table, float* log_sum_exp_NH) {
  CANDOR_CHECK(q_NHd.is_contiguous() && keys_BKdt.is_contiguous() && values_BKtd.is_contiguous());
  CANDOR_CHECK(keys_BKdt.dim() == 4 && keys_BKdt.size(3) == kBlockTokens && keys_BKdt.scalar_type() == values_BKtd.scalar_type());
  const Shape shape = ShapeOf(q_NHd, keys_BKdt.size(1));
  const at::Tensor out_NHd = at::empty_like(q_NHd);
  const CacheView cache{static_cast<const char*>(keys_BKdt.const_data_ptr()), static_cast<const char*>(values_BKtd.const_data_ptr()),
                        keys_BKdt.element_size(), shape.kv_heads * shape.head_dim * kBlockTokens, shape.head_dim * kBlockTokens};
  const TypedKernels& kernels = KernelsOf(keys_BKdt.scalar_type());
  const std::vector<TileTask> tasks = PlanTiles(queries, shape);
  at::parallel_for(0, static_cast<int64_t>(tasks.size()), 2, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      RunTile(tasks[static_cast<size_t>(i)], shape, q_NHd, cache, kernels, block_table.data(), out_NHd, log_sum_exp_NH);
  });
  return out_NHd;
}

// The packed batch as pages: which token row goes to which slot (the last, partly filled block of what a sequence continues is copied in
// front of it), and each sequence's blocks.
struct PagedLayout {
  std::vector<int64_t> rows, slots;
  std::vector<PagedQuery> queries;
  std::vector<int32_t> block_table;
  int64_t blocks = 0;

  // The rows of `range` behind a sequence of `before` positions whose blocks are block_table[table..] and whose rows `row_at` tells. Where
  // the new sequence's blocks begin.
  template <typename RowAt>
  int64_t Continue(int64_t table, int64_t before, const RowAt& row_at, RowRange range) {
    const int64_t full = before / kBlockTokens, end = before + range.size();
    const auto own = static_cast<int64_t>(block_table.size());
    for (int64_t i = 0; i < full; ++i) block_table.push_back(block_table[static_cast<size_t>(table + i)]);
    for (int64_t i = full * kBlockTokens; i < end; i += kBlockTokens) block_table.push_back(static_cast<int32_t>(blocks++));
    for (int64_t position = full * kBlockTokens; position < end; ++position) {
      rows.push_back(position < before ? row_at(position) : range.begin + position - before);
      slots.push_back(block_table[static_cast<size_t>(own + position / kBlockTokens)] * kBlockTokens + position % kBlockTokens);
    }
    queries.push_back({range.begin, range.size(), before, own});
    return own;
  }
};

PagedLayout LayOut(const PackedGroups& batch) {
  PagedLayout layout;
  const int64_t common = batch.common.size();
  const auto common_row = [&](int64_t position) { return batch.common.begin + position; };
  const int64_t common_table = layout.Continue(0, 0, common_row, batch.common);
  for (const PackedGroup& group : batch.groups) {
    const auto row_at = [&](int64_t position) { return position < common ? common_row(position) : group.prompt.begin + position - common; };
    const int64_t prompt_table = layout.Continue(common_table, common, common_row, group.prompt);
    for (const RowRange& answer : group.answers)
      if (answer.size() > 0) layout.Continue(prompt_table, common + group.prompt.size(), row_at, answer);
  }
  return layout;
}

const portable::PagedPlan& PlanOf(const PagedStep& step, const at::Device& device) {
  if (!step.plan) step.plan = std::make_shared<const portable::PagedPlan>(portable::PlanPaged(step, device));
  return *step.plan;
}

}  // namespace

void StoreKeyValues(const at::Tensor& k_NKd, const at::Tensor& v_NKd, const PagedStep& step, const at::Tensor& keys_BKdt,
                    const at::Tensor& values_BKtd) {
  const std::vector<int64_t>& slots_N = step.slots_N;
  CANDOR_CHECK(k_NKd.is_contiguous() && v_NKd.is_contiguous() && keys_BKdt.is_contiguous() && values_BKtd.is_contiguous());
  CANDOR_CHECK(k_NKd.scalar_type() == keys_BKdt.scalar_type() && k_NKd.size(0) == static_cast<int64_t>(slots_N.size()));
  if (!k_NKd.is_cpu()) return portable::StoreKeyValues(k_NKd, v_NKd, PlanOf(step, k_NKd.device()), keys_BKdt, values_BKtd);
  std::vector<int64_t> rows(slots_N.size());
  for (size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<int64_t>(i);
  const auto store = [&]<typename T>(T) {
    StoreRows(static_cast<const T*>(k_NKd.const_data_ptr()), static_cast<const T*>(v_NKd.const_data_ptr()), rows.data(), slots_N.data(),
              k_NKd.size(0), k_NKd.size(1), k_NKd.size(2), static_cast<T*>(keys_BKdt.mutable_data_ptr()),
              static_cast<T*>(values_BKtd.mutable_data_ptr()), [](T x) { return x; });
  };
  if (k_NKd.scalar_type() == at::kBFloat16)
    store(uint16_t{});
  else
    store(float{});
}

at::Tensor PagedAttention(const at::Tensor& q_NHd, const at::Tensor& keys_BKdt, const at::Tensor& values_BKtd, const PagedStep& step) {
  if (!q_NHd.is_cpu()) return portable::PagedAttention(q_NHd, keys_BKdt, values_BKtd, PlanOf(step, q_NHd.device()));
  return RunAttention(q_NHd, keys_BKdt, values_BKtd, step.queries, step.block_table, nullptr);
}

at::Tensor PackedAttention(const at::Tensor& q_NHd, const at::Tensor& k_NKd, const at::Tensor& v_NKd, const PackedGroups& batch,
                           AttentionSaved* saved) {
  if (!q_NHd.is_cpu()) return portable::PackedAttention(q_NHd, k_NKd, v_NKd, portable::PlanOf(batch, q_NHd.device()), saved);
  const PagedLayout layout = LayOut(batch);
  const int64_t kv_heads = k_NKd.size(1), head_dim = k_NKd.size(2);
  const auto fp32 = k_NKd.options().dtype(at::kFloat);
  const at::Tensor keys_BKdt = at::empty({layout.blocks, kv_heads, head_dim, kBlockTokens}, fp32),
                   values_BKtd = at::empty({layout.blocks, kv_heads, kBlockTokens, head_dim}, fp32);
  const auto count = static_cast<int64_t>(layout.rows.size());
  float* keys = keys_BKdt.mutable_data_ptr<float>();
  float* values = values_BKtd.mutable_data_ptr<float>();
  if (k_NKd.scalar_type() == at::kBFloat16) {
    StoreRows(static_cast<const uint16_t*>(k_NKd.const_data_ptr()), static_cast<const uint16_t*>(v_NKd.const_data_ptr()),
              layout.rows.data(), layout.slots.data(), count, kv_heads, head_dim, keys, values, Bf16ToFloat);
  } else {
    StoreRows(k_NKd.const_data_ptr<float>(), v_NKd.const_data_ptr<float>(), layout.rows.data(), layout.slots.data(), count, kv_heads,
              head_dim, keys, values, [](float x) { return x; });
  }
  float* log_sum_exp = nullptr;
  if (saved) {
    saved->log_sum_exp_NH = at::empty({q_NHd.size(0), q_NHd.size(1)}, fp32);
    log_sum_exp = saved->log_sum_exp_NH.mutable_data_ptr<float>();
  }
  return RunAttention(q_NHd, keys_BKdt, values_BKtd, layout.queries, layout.block_table, log_sum_exp);
}

}  // namespace candor
