// Attention over flat tokens; one kernel for engine and learner. Keys lie in blocks of 16 consecutive positions: keys transposed [d, 16],
// values [16, d], per kv head. A query's scores, maximum, exponentials and sums run over its own keys in position order in steps of fixed
// size, in fp32; its result depends on nothing else. So the engine (pages) and the learner (packed groups) agree bit for bit where their
// inputs do. Grouped queries: head h reads kv head h / (H / K). Threads: at::parallel_for inside; the caller is one thread. Tensors that
// are not on the CPU go through portable/attention.h: the same functions, equal within rounding.
#pragma once
#include <memory>

#include "model/aten.h"
#include "model/packed.h"

namespace candor {

inline constexpr int64_t kBlockTokens = 16;  // positions per key-value block: one vector register of fp32 scores

// Query rows [row_begin, row_begin + rows) are consecutive positions from first_position of one sequence. The blocks of that sequence are
// block_table[table_begin + p / 16] for position p; the keys up to and including each query's own position must already be stored.
struct PagedQuery {
  int64_t row_begin = 0;
  int64_t rows = 0;
  int64_t first_position = 0;
  int64_t table_begin = 0;
};

namespace portable {
struct PagedPlan;
}
// What one step reads and stores in the cache, the same for every layer. Token row n is stored at slot slots_N[n] = block * 16 + position %
// 16; a negative slot is skipped. `plan`: its index tensors on a device, made by the first layer that needs them and shared by copies.
struct PagedStep {
  std::vector<int64_t> slots_N;
  std::vector<PagedQuery> queries;
  std::vector<int32_t> block_table;
  mutable std::shared_ptr<const portable::PagedPlan> plan = nullptr;
};

// The cache of one layer: keys_BKdt [blocks, K, d, 16] and values_BKtd [blocks, K, 16, d], contiguous, bf16 or fp32, both the same.
// k, v: [N, K, d].
void StoreKeyValues(const at::Tensor& k_NKd, const at::Tensor& v_NKd, const PagedStep& step, const at::Tensor& keys_BKdt,
                    const at::Tensor& values_BKtd);
// out [N, H, d] in q's format. Scale is 1 / sqrt(d).
at::Tensor PagedAttention(const at::Tensor& q_NHd, const at::Tensor& keys_BKdt, const at::Tensor& values_BKtd, const PagedStep& step);

// What the learner's backward needs from its forward.
struct AttentionSaved {
  at::Tensor log_sum_exp_NH;  // fp32
};
at::Tensor PackedAttention(const at::Tensor& q_NHd, const at::Tensor& k_NKd, const at::Tensor& v_NKd, const PackedGroups& batch,
                           AttentionSaved* saved);
struct AttentionGradients {
  at::Tensor dq_NHd, dk_NKd, dv_NKd;
};
AttentionGradients PackedAttentionBackward(const at::Tensor& dout_NHd, const at::Tensor& q_NHd, const at::Tensor& k_NKd,
                                           const at::Tensor& v_NKd, const at::Tensor& out_NHd, const PackedGroups& batch,
                                           const AttentionSaved& saved);

}  // namespace candor
