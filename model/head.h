// The LM head: hidden states to fp32 logits and log-probabilities. Logits are never rounded to bf16. The learner's form works in chunks of
// rows; it keeps gradients of log p for as many rows as it is given room for and computes the other rows' logits again in backward, so
// [M, V] never exists whole in fp32. Engine and learner share RowStatistics, so that in
// deterministic mode their log-probabilities are equal bit for bit. Legend: M rows that predict something, V vocabulary, E extra ids whose
// logits are read (the confidence slot: high, low).
#pragma once
#include "model/linear.h"

namespace candor {

// The engine's form: fp32 [M, V], raw (T = 1, before any filter).
at::Tensor Logits(const Linear& head, const at::Tensor& hidden_MD, const Numerics& numerics);

struct RowStats {
  float max = 0.0f;
  float log_sum_exp = 0.0f;  // log p(id) = logit[id] - log_sum_exp
  float entropy = 0.0f;      // nats
};
// Of one row of V raw logits, in a fixed order of operations.
RowStats RowStatistics(const float* logits_V, int64_t vocab_size);

struct TokenScores {
  at::Tensor log_probs_M;    // fp32 log p(target)
  at::Tensor entropy_M;      // fp32, no gradient
  at::Tensor log_sum_exp_M;  // kept for backward
  at::Tensor selected_ME;    // fp32 raw logits of the extra ids; undefined when there are none
  at::Tensor ranks_M = {};   // int32: 1 + how many tokens are likelier than the target; undefined unless asked for
  // On the CPU: softmax - onehot(target) of the last rows in the hidden states' format, for backward, which overwrites it.
  at::Tensor kept_KV = {};
};
// Bytes that a learner's pass keeps of the head: 2,700 rows of a vocabulary of 49,152 in bf16.
inline constexpr int64_t kHeadKeepBytes = int64_t{256} << 20;
// `keep_bytes`: room for kept_KV; 0: keep nothing. `ranks`: fill ranks_M.
TokenScores ComputeTokenLogProbs(const Linear& head, const at::Tensor& hidden_MD, const std::vector<int32_t>& targets_M,
                                 const std::vector<int32_t>& extra_ids_E, const Numerics& numerics, int64_t keep_bytes = 0,
                                 bool ranks = false);
// Upstream gradients of log_probs_M and selected_ME (on the host, whatever the device; either may be undefined: zero) -> d hidden [M, D] in
// fp32; adds the head's gradient into grad_head (fp32 [V, D]). Rows whose upstream gradients are all zero cost nothing.
at::Tensor TokenLogProbsBackward(const Linear& head, const at::Tensor& hidden_MD, const std::vector<int32_t>& targets_M,
                                 const std::vector<int32_t>& extra_ids_E, const TokenScores& scores, const at::Tensor& dlog_probs_M,
                                 const at::Tensor& dselected_ME, const Linear& grad_head, const Numerics& numerics);

}  // namespace candor
