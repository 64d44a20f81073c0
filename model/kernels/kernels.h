// The project's own CPU kernels, compiled once per instruction set (kernels_avx512.cc, kernels_avx2.cc, kernels_baseline.cc from the same
// .inc files) and chosen at start. They are serial over the rows they are given; callers spread rows over threads. T is the policy's number
// format (fp32 or bf16, as raw 16-bit words); sums run in fp32 in a fixed order.
#pragma once
#include <cstdint>
#include <vector>

namespace candor {

// One tile of attention: up to kAttentionTileRows (query, head) pairs that read the same kv head of one sequence.
inline constexpr int kAttentionTileRows = 12;
inline constexpr int kAttentionStepKeys = 512;  // keys between two rescalings of the running softmax

struct AttentionTile {
  const float* q_Rd;           // queries times 1 / sqrt(d)
  const int64_t* keys_seen_R;  // row r reads keys [0, keys_seen_R[r])
  int64_t rows;
  int64_t head_dim;
  const int32_t* table;  // block of position p: table[p / 16]
  const void* keys;      // + block * block_stride: [d, 16] of this kv head
  const void* values;    // + block * block_stride: [16, d]
  int64_t block_stride;  // elements
  float* out_Rd;
  float* log_sum_exp_R;
};

// One tile of attention's backward against `keys` consecutive keys that lie in blocks of 16 (zero padded): keys_seen_R counts from the
// first of them.
struct AttentionBackwardTile {
  const float* q_Rd;  // queries times 1 / sqrt(d)
  const float* dout_Rd;
  const float* log_sum_exp_R;
  const float* delta_R;  // sum over d of dout * out
  const int64_t* keys_seen_R;
  int64_t rows;
  int64_t head_dim;
  int64_t keys;
  const float* keys_Bdt;    // [blocks, d, 16]
  const float* values_Bdt;  // [blocks, d, 16]
  const float* keys_Btd;    // [blocks, 16, d]
  float* dq_Rd;             // added to (of the scaled queries)
  float* dkeys_Btd;         // added to
  float* dvalues_Btd;       // added to
};

// One block of the product of deterministic mode: c [rows, columns] = a b, or += with `add`. b lies in panels of 32 columns.
inline constexpr int64_t kProductColumns = 32;
inline constexpr int64_t kProductDepth = 512;  // k at most

struct ProductBlock {
  const float* a;  // element (r, i) at a[r * a_row + i * a_column]
  int64_t a_row, a_column;
  const float* b;  // panel p: [k, 32] at b + p * b_panel, whole even where columns end inside it
  int64_t b_panel;
  float* c;
  int64_t c_row;
  int64_t rows, columns, k;
  bool add;
};

struct TypedKernels {
  // y = x * rstd * w per row; x is the fp32 residual stream.
  void (*rms_norm)(const float* x, const void* w, void* y, float* rstd, int64_t rows, int64_t width, float eps);
  // dx += gradient through the norm; dw += (fp32).
  void (*rms_norm_backward)(const float* dy, const float* x, const void* w, const float* rstd, float* dx, float* dw, int64_t rows,
                            int64_t width);
  // One row of `heads` heads, not rounded yet: optional RMSNorm of each head (w null: none), then rotation by the row's position.
  void (*head_norm_rope)(const float* x, void* y, int64_t heads, int64_t head_dim, const void* w, float eps, const float* cos_row,
                         const float* sin_row);
  // The reverse for one row: dy fp32 [heads, d] -> dx (T); dw += where there is a norm; x is the input of the forward.
  void (*head_norm_rope_backward)(const float* dy, const float* x, void* dx, int64_t heads, int64_t head_dim, const void* w, float eps,
                                  float* dw, const float* cos_row, const float* sin_row);
  // gate_up: [rows, 2F], not rounded yet -> silu(gate) * up [rows, F].
  void (*swiglu)(const float* gate_up, void* out, int64_t rows, int64_t width);
  void (*swiglu_backward)(const void* dout, const void* gate_up, void* dgate_up, int64_t rows, int64_t width);
  // out_V = scale * (onehot(target) - softmax(logits)) in T.
  void (*log_prob_gradient)(const float* logits_V, int64_t width, float log_sum_exp, int64_t target, float scale, void* out_V);
  void (*attention)(const AttentionTile& tile);
  void (*to_float)(const void* x, float* y, int64_t count, float scale);
  void (*from_float)(const float* x, void* y, int64_t count);
  // y += x.
  void (*add_to_float)(const void* x, float* y, int64_t count);
  // y = factor * x; y may be x or lie before it.
  void (*scale)(const void* x, void* y, int64_t count, float factor);
};

struct Kernels {
  const char* instruction_set;
  TypedKernels fp32;
  TypedKernels bf16;
  void (*attention_backward)(const AttentionBackwardTile& tile);
  void (*product)(const ProductBlock& block);
  void (*row_statistics)(const float* logits_V, int64_t width, float* max, float* log_sum_exp, float* entropy);
};

// The fastest kernels this processor can run.
const Kernels& GetKernels();
// Every set this processor can run, fastest first (for tests).
const std::vector<Kernels>& AllKernels();

}  // namespace candor
