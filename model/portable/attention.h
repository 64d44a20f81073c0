// Attention in LibTorch's operators over grids of padded sequences (sequences.h): scores in fp32, hidden keys at minus infinity, one exact
// softmax. Both forms share the arithmetic and differ in where keys and values are gathered from. What attention.h says about layouts and
// scales holds here too. Cache slots that were never written must hold finite numbers: a hidden key has weight 0, and 0 times NaN is NaN.
#pragma once
#include "model/attention.h"
#include "model/portable/sequences.h"

namespace candor::portable {

// The learner's batch: sources are rows of k and v.
SequencePlan PlanPacked(const PackedGroups& batch, const at::Device& device);
// The batch's own plan, made when it is first asked for.
const SequencePlan& PlanOf(const PackedGroups& batch, const at::Device& device);
at::Tensor PackedAttention(const at::Tensor& q_NHd, const at::Tensor& k_NKd, const at::Tensor& v_NKd, const SequencePlan& plan,
                           AttentionSaved* saved);
AttentionGradients PackedAttentionBackward(const at::Tensor& dout_NHd, const at::Tensor& q_NHd, const at::Tensor& k_NKd,
                                           const at::Tensor& v_NKd, const at::Tensor& out_NHd, const SequencePlan& plan,
                                           const AttentionSaved& saved);

// The engine's step: sources are blocks of the cache.
struct PagedPlan {
  SequencePlan sequences;
  at::Tensor stored_rows_M;  // rows that have a slot; undefined: all of them
  at::Tensor blocks_M, lanes_M;
};
PagedPlan PlanPaged(const PagedStep& step, const at::Device& device);
void StoreKeyValues(const at::Tensor& k_NKd, const at::Tensor& v_NKd, const PagedPlan& plan, const at::Tensor& keys_BKdt,
                    const at::Tensor& values_BKtd);
at::Tensor PagedAttention(const at::Tensor& q_NHd, const at::Tensor& keys_BKdt, const at::Tensor& values_BKtd, const PagedPlan& plan);

}  // namespace candor::portable
