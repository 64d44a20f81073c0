// The LM head in LibTorch's operators (head.h says what is computed): chunks of rows, fp32 logits, one exact log-softmax.
#pragma once
#include "model/head.h"

namespace candor::portable {

TokenScores ComputeTokenLogProbs(const Linear& head, const at::Tensor& hidden_MD, const std::vector<int32_t>& targets_M,
                                 const std::vector<int32_t>& extra_ids_E, bool ranks = false);
// `active_rows`: the rows whose upstream gradients (on the host) are not all zero.
at::Tensor TokenLogProbsBackward(const Linear& head, const at::Tensor& hidden_MD, const std::vector<int32_t>& targets_M,
                                 const std::vector<int32_t>& extra_ids_E, const TokenScores& scores, const at::Tensor& dlog_probs_M,
                                 const at::Tensor& dselected_ME, const std::vector<int64_t>& active_rows, const Linear& grad_head);

}  // namespace candor::portable
