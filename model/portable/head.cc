// Log-probabilities and their gradient, chunk by chunk.
#include "model/portable/head.h"

#include "model/device.h"
#include "model/portable/portable.h"

namespace candor::portable {
namespace {

// Rows whose fp32 logits fill about 256 MiB: the head's gradient (V x D, fp32) is read and written once per chunk.
int64_t ChunkRows(int64_t vocab_size) { return std::max<int64_t>(16, (int64_t{256} << 20) / (4 * vocab_size)); }

}  // namespace

TokenScores ComputeTokenLogProbs(const Linear& head, const at::Tensor& hidden_MD, const std::vector<int32_t>& targets_M,
                                 const std::vector<int32_t>& extra_ids_E, bool ranks) {
  const int64_t rows = hidden_MD.size(0), vocab_size = head.weight_OI.size(0), chunk = ChunkRows(vocab_size);
  const auto fp32 = hidden_MD.options().dtype(at::kFloat);
  const at::Tensor targets_M1 = ToDevice(targets_M, hidden_MD.device()).unsqueeze(1), extra_E = ToDevice(extra_ids_E, hidden_MD.device());
  TokenScores scores{at::empty({rows}, fp32), at::empty({rows}, fp32), at::empty({rows}, fp32), {}};
  if (ranks) scores.ranks_M = at::empty({rows}, hidden_MD.options().dtype(at::kInt));
  if (!extra_ids_E.empty()) scores.selected_ME = at::empty({rows, extra_E.size(0)}, fp32);
  for (int64_t first = 0; first < rows; first += chunk) {
    const int64_t count = std::min(chunk, rows - first);
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, first, count); };
    const at::Tensor logits_CV = at::empty({count, vocab_size}, fp32);
    ApplyToFloat(head, part(hidden_MD), logits_CV);
    const at::Tensor log_sum_exp_C1 = at::logsumexp(logits_CV, {1}, /*keepdim=*/true);
    part(scores.log_sum_exp_M).copy_(log_sum_exp_C1.squeeze(1));
    const at::Tensor target_C1 = logits_CV.gather(1, part(targets_M1));
    part(scores.log_probs_M).copy_((target_C1 - log_sum_exp_C1).squeeze(1));
    if (ranks) part(scores.ranks_M).copy_((logits_CV > target_C1).sum(1).add_(1));
    if (scores.selected_ME.defined()) part(scores.selected_ME).copy_(logits_CV.index_select(1, extra_E));
    const at::Tensor surprise_CV = log_sum_exp_C1 - logits_CV;
    part(scores.entropy_M).copy_(surprise_CV.neg().exp_().mul_(surprise_CV).sum(1));
  }
  return scores;
}

at::Tensor TokenLogProbsBackward(const Linear& head, const at::Tensor& hidden_MD, const std::vector<int32_t>& targets_M,
                                 const std::vector<int32_t>& extra_ids_E, const TokenScores& scores, const at::Tensor& dlog_probs_M,
                                 const at::Tensor& dselected_ME, const std::vector<int64_t>& active_rows, const Linear& grad_head) {
  const at::Device device = hidden_MD.device();
  const auto active = static_cast<int64_t>(active_rows.size());
  const int64_t vocab_size = head.weight_OI.size(0), chunk = ChunkRows(vocab_size);
  const auto fp32 = hidden_MD.options().dtype(at::kFloat);
  const at::Tensor dhidden_MD = at::zeros(hidden_MD.sizes(), fp32), rows_A = ToDevice(active_rows, device);
  const auto select = [&](const at::Tensor& x) { return x.to(device).index_select(0, rows_A); };
  const at::Tensor targets_A1 = select(ToDevice(targets_M, device)).unsqueeze(1),
                   log_sum_exp_A1 = select(scores.log_sum_exp_M).unsqueeze(1);
  const at::Tensor scale_A1 = dlog_probs_M.defined() ? select(dlog_probs_M).unsqueeze(1) : at::zeros({active, 1}, fp32);
  const at::Tensor dselected_AE = dselected_ME.defined() ? select(dselected_ME) : at::Tensor();
  for (int64_t first = 0; first < active; first += chunk) {
    const int64_t count = std::min(chunk, active - first);
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, first, count); };
    const at::Tensor rows_C = part(rows_A), hidden_CD = hidden_MD.index_select(0, rows_C), scale_C1 = part(scale_A1);
    at::Tensor dlogits_CV = at::empty({count, vocab_size}, fp32);  // first the logits, then scale * (onehot(target) - softmax)
    ApplyToFloat(head, hidden_CD, dlogits_CV);
    dlogits_CV.sub_(part(log_sum_exp_A1)).exp_().mul_(-scale_C1).scatter_add_(1, part(targets_A1), scale_C1);
    if (dselected_AE.defined())
      for (size_t e = 0; e < extra_ids_E.size(); ++e)
        dlogits_CV.select(1, extra_ids_E[e]).add_(part(dselected_AE).select(1, static_cast<int64_t>(e)));
    const at::Tensor low_CV = dlogits_CV.to(hidden_MD.scalar_type());
    portable::AddWeightGradient(hidden_CD, low_CV, grad_head);
    dhidden_MD.index_copy_(0, rows_C, portable::InputGradientFloat(head, low_CV));
  }
  return dhidden_MD;
}

}  // namespace candor::portable
