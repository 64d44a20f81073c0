#include "trainer/micro_batch.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"

namespace candor {

std::vector<PackItem> PackItemsOf(const std::vector<GroupTask>& tasks) {
  std::vector<PackItem> items;
  for (const GroupTask& task : tasks) {
    PackItem item{static_cast<int64_t>(task.group->prompt_tokens_P.size()), {}, !task.pairs.empty()};
    for (const TraceTask& trace : task.traces)
      item.answer_tokens.push_back(static_cast<int64_t>(task.group->traces_G[trace.trace].trace.tokens_T.size()));
    items.push_back(std::move(item));
  }
  return items;
}

int64_t CommonBeginningOf(const std::vector<GroupTask>& tasks) {
  const auto prompt_of = [](const GroupTask& task) -> const auto& { return task.group->prompt_tokens_P; };
  return static_cast<int64_t>(CommonBeginning(tasks, prompt_of).size());
}

namespace {

void AppendTrace(const GroupTask& group, const TraceTask& task, const LossContext& context, LearnBatch& batch) {
  const Trace& trace = group.group->traces_G[task.trace].trace;
  double weight = TokenWeight(context.aggregation, context.all, task.trained, group.trained, context.length_norm);
  int64_t first = static_cast<int64_t>(batch.weights_M.size());
  batch.starts.push_back(batch.weights_M.size());
  for (const Span& span : trace.spans) {
    bool sampled = span.origin == Origin::kPolicy && span.segment != Segment::kSlot;
    for (int32_t i = span.begin; i < span.end; ++i) {
      size_t t = static_cast<size_t>(i);
      batch.rollout_log_probs_M.push_back(trace.log_probs_T[t]);
      batch.rollout_entropy_M.push_back(t < trace.entropy_T.size() ? trace.entropy_T[t] : 0.0f);
      batch.advantages_M.push_back(task.advantage_T[t]);
      batch.weights_M.push_back(task.trained_T[t] ? static_cast<float>(weight) : 0.0f);
      batch.sampled_M.push_back(sampled ? 1 : 0);
      batch.lag_M.push_back(context.held_version - static_cast<int64_t>(trace.version_T[t]));
    }
  }
  for (const SlotTarget& slot : task.slots)
    batch.slots.push_back(
        {first + slot.token, slot.loss, slot.target, context.all.slots > 0.0 ? static_cast<float>(slot.weight / context.all.slots) : 0.0f});
}

}  // namespace

namespace {

// A group with pairs lies whole in one micro-batch; `first` is where its traces begin, in the order of its tasks.
void AppendPairs(const GroupTask& group, const std::vector<int64_t>& first, const LossContext& context, LearnBatch& batch) {
  const auto rows = [&](size_t trace, const std::vector<int32_t>& tokens) {
    std::vector<int64_t> rows_T;
    for (size_t k = 0; k < group.traces.size(); ++k)
      if (group.traces[k].trace == trace)
        for (int32_t t : tokens) rows_T.push_back(first[k] + t);
    return rows_T;
  };
  for (const PreferencePair& pair : group.pairs)
    batch.pairs.push_back({rows(pair.chosen, pair.chosen_tokens), rows(pair.rejected, pair.rejected_tokens), pair.beta,
                           context.all.pairs > 0.0 ? pair.weight / context.all.pairs : 0.0});
}

}  // namespace

Result<LearnBatch> MakeLearnBatch(const std::vector<GroupTask>& tasks, const MicroBatch& plan, const LossContext& context) {
  LearnBatch batch;
  batch.packed.Begin(std::span(tasks[plan.parts.front().item].group->prompt_tokens_P).first(static_cast<size_t>(plan.common)));
  for (const PackPart& part : plan.parts) {
    const GroupTask& group = tasks[part.item];
    std::vector<std::vector<int32_t>> answers;
    std::vector<int64_t> first;
    for (size_t answer : part.answers) {
      answers.push_back(group.group->traces_G[group.traces[answer].trace].trace.tokens_T);
      first.push_back(static_cast<int64_t>(batch.weights_M.size()));
      AppendTrace(group, group.traces[answer], context, batch);
    }
    AppendPairs(group, first, context, batch);
    CANDOR_TRY(batch.packed.Add(group.group->prompt_tokens_P, answers));
  }
  CANDOR_CHECK(batch.packed.scored() == static_cast<int64_t>(batch.weights_M.size()), "one entry per scored token");
  return batch;
}

Result<LearnBatch> MakeEmptyBatch() {
  LearnBatch batch;
  CANDOR_TRY(batch.packed.Add({0}, {{0}}));
  batch.rollout_log_probs_M = batch.rollout_entropy_M = batch.advantages_M = batch.weights_M = {0.0f};
  batch.sampled_M = {0};
  batch.lag_M = {0};
  batch.starts = {0};
  return batch;
}

namespace {

// How far the learner's log-probabilities are from those that the rollout recorded.
void MeasureMismatch(const LearnBatch& batch, const float* new_M, const float* entropy_M, ReportSums& sums) {
  for (size_t i = 0; i < batch.sampled_M.size(); ++i) {
    if (!batch.sampled_M[i]) continue;
    double d = static_cast<double>(new_M[i]) - static_cast<double>(batch.rollout_log_probs_M[i]);
    double kl = std::expm1(std::min(d, 20.0)) - d;
    sums.sampled_tokens += 1.0;
    sums.entropy += entropy_M[i];
    sums.rollout_entropy += batch.rollout_entropy_M[i];
    sums.mismatch_abs += std::abs(d), sums.mismatch_kl += kl;
    sums.mismatch_abs_max = std::max(sums.mismatch_abs_max, std::abs(d)), sums.mismatch_kl_max = std::max(sums.mismatch_kl_max, kl);
    sums.lag_versions += static_cast<double>(batch.lag_M[i]);
    sums.lag_max = std::max(sums.lag_max, static_cast<double>(batch.lag_M[i]));
    if (batch.lag_M[i] == 0) {
      sums.same_tokens += 1.0, sums.same_mismatch_abs += std::abs(d);
      sums.same_mismatch_abs_max = std::max(sums.same_mismatch_abs_max, std::abs(d));
    }
  }
}

// Slots of one kind of loss; adds into dselected [M, 2].
void AddSlotGradients(const LearnBatch& batch, LossKind kind, const float* selected_ME, float* dselected_ME, ReportSums& sums) {
  std::vector<float> margins, targets, weights;
  std::vector<int64_t> rows;
  for (const LearnBatch::Slot& slot : batch.slots)
    if (slot.loss == kind) {
      margins.push_back(selected_ME[2 * slot.row] - selected_ME[2 * slot.row + 1]);
      targets.push_back(slot.target), weights.push_back(slot.weight), rows.push_back(slot.row);
    }
  SlotInputs inputs{margins, targets, weights};
  SlotOutputs out = kind == LossKind::kSquaredError ? ComputeSlotSquaredError(inputs) : ComputeSlotCrossEntropy(inputs);
  sums.slot_loss += out.sum, sums.loss += out.sum;
  for (size_t i = 0; i < rows.size(); ++i) {
    dselected_ME[2 * rows[i]] += out.gradient_S[i];
    dselected_ME[2 * rows[i] + 1] -= out.gradient_S[i];
    double c = out.confidence_S[i], t = targets[i];
    sums.slots += 1.0, sums.slot_confidence += c, sums.slot_target += t, sums.slot_brier += (c - t) * (c - t);
  }
}

std::vector<float> Pick(const float* values_M, const std::vector<int64_t>& rows) {
  std::vector<float> picked;
  for (int64_t row : rows) picked.push_back(values_M[row]);
  return picked;
}

void AddPreferenceGradients(const LearnBatch& batch, const float* new_M, const float* reference_M, float* dlog_probs_M, ReportSums& sums) {
  for (const LearnBatch::Pair& pair : batch.pairs) {
    const PreferenceOutputs out = ComputePreference(pair.beta, Pick(new_M, pair.chosen_C), Pick(reference_M, pair.chosen_C),
                                                    Pick(new_M, pair.rejected_R), Pick(reference_M, pair.rejected_R));
    sums.loss += pair.weight * out.loss, sums.preference_loss += pair.weight * out.loss;
    sums.pairs += 1.0, sums.pair_margin += out.margin;
    const float slope = static_cast<float>(pair.weight * out.slope);
    for (int64_t row : pair.chosen_C) dlog_probs_M[row] += slope;
    for (int64_t row : pair.rejected_R) dlog_probs_M[row] -= slope;
  }
}

void AddKl(const LearnBatch& batch, const LossContext& context, std::span<const float> new_M, const at::Tensor& reference_M,
           float* dlog_probs_M, ReportSums& sums) {
  const KlOutputs kl = ComputeKl(context.kl_estimator, {new_M, {reference_M.data_ptr<float>(), new_M.size()}, batch.weights_M});
  sums.kl += kl.kl, sums.kl_tokens += kl.tokens, sums.loss += context.kl_weight * kl.sum;
  for (size_t i = 0; i < new_M.size(); ++i) dlog_probs_M[i] += static_cast<float>(context.kl_weight * kl.gradient_M[i]);
}

// Sums from which the covariance of advantage and log-probability over a step's trained tokens follows; it foretells how entropy moves.
void MeasureCovariance(const LearnBatch& batch, const float* new_M, ReportSums& sums) {
  for (size_t i = 0; i < batch.weights_M.size(); ++i) {
    if (batch.weights_M[i] == 0.0f) continue;
    sums.log_prob += new_M[i];
    sums.advantage_log_prob += static_cast<double>(batch.advantages_M[i]) * static_cast<double>(new_M[i]);
  }
}

}  // namespace

TokenGradients ComputeTokenGradients(const LearnBatch& batch, const LossContext& context, const TokenScores& scores,
                                     const at::Tensor& reference_M, ReportSums& sums) {
  size_t m = batch.weights_M.size();
  at::Tensor new_M = scores.log_probs_M.contiguous(), entropy_M = scores.entropy_M.contiguous();
  const float* new_data = new_M.data_ptr<float>();
  const LossInputs inputs{{new_data, m}, batch.rollout_log_probs_M, batch.advantages_M, batch.weights_M, batch.starts, batch.lag_M,
                          context.draw};
  LossOutputs policy = ComputePolicyLoss(context.loss, inputs);
  sums.policy_loss += policy.sum, sums.loss += policy.sum;
  sums.tokens += policy.counts.tokens, sums.clipped += policy.counts.clipped, sums.ratio += policy.counts.ratio_sum,
      sums.tis += policy.counts.tis_sum, sums.rejected += policy.counts.rejected;
  sums.ratio_max = std::max(sums.ratio_max, policy.counts.ratio_max);
  sums.rows += static_cast<double>(batch.packed.rows());
  MeasureMismatch(batch, new_data, entropy_M.data_ptr<float>(), sums);
  TokenGradients gradients;
  gradients.dlog_probs_M = at::empty({static_cast<int64_t>(m)}, at::kFloat);
  float* dlog_probs_M = gradients.dlog_probs_M.data_ptr<float>();
  std::copy(policy.gradient_M.begin(), policy.gradient_M.end(), dlog_probs_M);
  MeasureCovariance(batch, new_data, sums);
  const at::Tensor reference = reference_M.defined() ? reference_M.contiguous() : reference_M;
  if (reference.defined() && context.kl_weight > 0.0) AddKl(batch, context, {new_data, m}, reference, dlog_probs_M, sums);
  if (reference.defined()) AddPreferenceGradients(batch, new_data, reference.data_ptr<float>(), dlog_probs_M, sums);
  if (scores.selected_ME.defined()) {
    at::Tensor selected = scores.selected_ME.contiguous();
    gradients.dselected_ME = at::zeros_like(selected);
    for (LossKind kind : {LossKind::kSquaredError, LossKind::kCrossEntropy})
      AddSlotGradients(batch, kind, selected.data_ptr<float>(), gradients.dselected_ME.data_ptr<float>(), sums);
  }
  return gradients;
}

}  // namespace candor
