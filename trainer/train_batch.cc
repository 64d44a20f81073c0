#include "trainer/train_batch.h"

#include <algorithm>
#include <cmath>

namespace candor {

namespace {

tl::unexpected<Error> Bad(const ScoredGroup& group, size_t trace, const std::string& what) {
  return Fail(ErrorCode::kInvalidInput, what, "group " + ToString(group.id) + ", trace " + std::to_string(trace),
              "its reward or rollout worker wrote a broken group");
}

bool AllFinite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

bool SpansCover(const Trace& trace) {
  int32_t at = 0;
  for (const Span& span : trace.spans) {
    if (span.begin != at || span.end < span.begin) return false;
    at = span.end;
  }
  return at == static_cast<int32_t>(trace.tokens_T.size());
}

// Adds the slot targets of one objective.
void AddSlots(const Objective& objective, const ScoredGroup& group, std::span<const std::optional<double>> values_G,
              std::vector<TraceTask>& tasks_G) {
  std::optional<double> mean = GroupMean(values_G);
  for (size_t i = 0; i < group.traces_G.size(); ++i) {
    const ScoredTrace& scored = group.traces_G[i];
    if (scored.label == Label::kUnknown) continue;
    std::optional<double> own = objective.channel.Evaluate(scored.channels);
    if (!own) continue;
    double target = objective.target * *own + (1.0 - objective.target) * mean.value_or(*own);
    if (!(0.0 <= target && target <= 1.0)) continue;  // a channel that is no probability teaches the slot nothing
    for (const Span& span : scored.trace.spans)
      if (span.segment == Segment::kSlot)
        for (int32_t t = span.begin; t < span.end; ++t)
          tasks_G[i].slots.push_back(
              {t, objective.loss, static_cast<float>(target), static_cast<float>(objective.weight * group.slot_weight)});
  }
}

void AddPolicyGradient(const Objective& objective, const ScoredGroup& group, std::span<const std::optional<double>> values_G,
                       double batch_std, std::vector<TraceTask>& tasks_G) {
  std::vector<std::optional<double>> advantages_G = ComputeAdvantages(objective, values_G, batch_std);
  const std::vector<double> factors_G = DiscrepancyFactors(objective, group);
  for (size_t i = 0; i < group.traces_G.size(); ++i) {
    const bool cut_off = group.traces_G[i].trace.finish == FinishReason::kLength;
    if (!advantages_G[i] || (objective.mask_truncated && cut_off)) continue;
    const double advantage = objective.weight * factors_G[i] * *advantages_G[i];
    for (const Span& span : group.traces_G[i].trace.spans) {
      if (!objective.Reaches(span.origin, span.segment)) continue;
      for (int32_t t = span.begin; t < span.end; ++t) {
        tasks_G[i].advantage_T[static_cast<size_t>(t)] += static_cast<float>(advantage);
        tasks_G[i].trained_T[static_cast<size_t>(t)] = 1;
      }
    }
  }
}

std::vector<int32_t> ReachedTokens(const Objective& objective, const Trace& trace) {
  std::vector<int32_t> tokens;
  for (const Span& span : trace.spans)
    if (objective.Reaches(span.origin, span.segment))
      for (int32_t t = span.begin; t < span.end; ++t) tokens.push_back(t);
  return tokens;
}

void AddPair(const Objective& objective, const ScoredGroup& group, std::span<const std::optional<double>> values_G,
             std::vector<TraceTask>& tasks_G, std::vector<PreferencePair>& pairs) {
  const auto chosen = ChoosePair(values_G);
  if (!chosen) return;
  const auto& [best, worst] = *chosen;
  PreferencePair pair{best,
                      worst,
                      ReachedTokens(objective, group.traces_G[best].trace),
                      ReachedTokens(objective, group.traces_G[worst].trace),
                      objective.preference_beta,
                      static_cast<float>(objective.weight)};
  if (pair.chosen_tokens.empty() || pair.rejected_tokens.empty()) return;
  tasks_G[best].paired = tasks_G[worst].paired = true;
  pairs.push_back(std::move(pair));
}

}  // namespace

Status ValidateGroup(const ScoredGroup& group, int64_t vocab_size, int64_t max_positions) {
  auto in_vocabulary = [&](int32_t id) { return 0 <= id && id < vocab_size; };
  if (group.prompt_tokens_P.empty()) return Bad(group, 0, "the prompt is empty");
  if (!std::all_of(group.prompt_tokens_P.begin(), group.prompt_tokens_P.end(), in_vocabulary))
    return Bad(group, 0, "a prompt token lies outside the vocabulary");
  for (size_t i = 0; i < group.traces_G.size(); ++i) {
    const Trace& trace = group.traces_G[i].trace;
    size_t n = trace.tokens_T.size();
    if (trace.log_probs_T.size() != n || trace.version_T.size() != n)
      return Bad(group, i, "tokens, log-probabilities and versions differ in number");
    if (static_cast<int64_t>(group.prompt_tokens_P.size() + n) > max_positions) return Bad(group, i, "longer than the model's positions");
    if (!std::all_of(trace.tokens_T.begin(), trace.tokens_T.end(), in_vocabulary))
      return Bad(group, i, "a token lies outside the vocabulary");
    if (!SpansCover(trace)) return Bad(group, i, "the spans do not cover the completion");
    if (!AllFinite(trace.log_probs_T)) return Bad(group, i, "a log-probability is not finite");
  }
  return {};
}

std::vector<Moments> ComputeMoments(const std::vector<Objective>& objectives, const std::vector<ScoredGroup>& groups) {
  std::vector<Moments> moments(objectives.size());
  for (size_t k = 0; k < objectives.size(); ++k)
    for (const ScoredGroup& group : groups)
      if (group.drop == DropReason::kNone) AddCentred(ObjectiveValues(objectives[k], group), moments[k]);
  return moments;
}

std::vector<GroupTask> PlanTasks(const std::vector<Objective>& objectives, const std::vector<ScoredGroup>& groups,
                                 const std::vector<Moments>& moments) {
  std::vector<GroupTask> tasks;
  for (const ScoredGroup& group : groups) {
    std::vector<TraceTask> tasks_G(group.traces_G.size());
    std::vector<PreferencePair> pairs;
    for (size_t i = 0; i < tasks_G.size(); ++i) {
      tasks_G[i].trace = i;
      tasks_G[i].advantage_T.assign(group.traces_G[i].trace.tokens_T.size(), 0.0f);
      tasks_G[i].trained_T.assign(group.traces_G[i].trace.tokens_T.size(), 0);
    }
    for (size_t k = 0; k < objectives.size(); ++k) {
      std::vector<std::optional<double>> values_G = ObjectiveValues(objectives[k], group);
      if (objectives[k].TrainsSlot()) {
        if (group.drop == DropReason::kNone || IsFiltered(group.drop)) AddSlots(objectives[k], group, values_G, tasks_G);
      } else if (!objectives[k].IsPolicyGradient()) {
        // Equal labels say nothing about a channel of another kind; a channel without variance makes no pair by itself.
        if (group.drop == DropReason::kNone || IsFiltered(group.drop) || group.drop == DropReason::kAllUnknown)
          AddPair(objectives[k], group, values_G, tasks_G, pairs);
      } else if (group.drop == DropReason::kNone) {
        AddPolicyGradient(objectives[k], group, values_G, moments[k].Std(), tasks_G);
      }
    }
    GroupTask task{&group, {}, 0, std::move(pairs)};
    for (TraceTask& trace : tasks_G) {
      for (uint8_t trained : trace.trained_T) trace.trained += trained;
      task.trained += trace.trained;
      if (trace.has_work()) task.traces.push_back(std::move(trace));
    }
    tasks.push_back(std::move(task));
  }
  return tasks;
}

namespace {
constexpr double kWhitenEpsilon = 1e-4;
}

Moments ComputeWhitening(Whiten kind, const std::vector<GroupTask>& tasks) {
  Moments moments;
  for (const GroupTask& task : tasks)
    for (const TraceTask& trace : task.traces) {
      double sum = 0.0;
      for (size_t t = 0; t < trace.trained_T.size(); ++t) {
        if (!trace.trained_T[t]) continue;
        sum += trace.advantage_T[t];
        if (kind == Whiten::kTokens) moments.Add(trace.advantage_T[t]);
      }
      if (kind == Whiten::kSequences && trace.trained > 0) moments.Add(sum / trace.trained);
    }
  return moments;
}

void WhitenAdvantages(const Moments& all, std::vector<GroupTask>& tasks) {
  if (all.count == 0.0) return;
  const double mean = all.sum / all.count, scale = 1.0 / (all.Std() + kWhitenEpsilon);
  for (GroupTask& task : tasks)
    for (TraceTask& trace : task.traces)
      for (size_t t = 0; t < trace.trained_T.size(); ++t)
        if (trace.trained_T[t]) trace.advantage_T[t] = static_cast<float>((trace.advantage_T[t] - mean) * scale);
}

Denominators CountDenominators(const std::vector<GroupTask>& tasks) {
  Denominators all;
  for (const GroupTask& task : tasks) {
    all.tokens += task.trained;
    all.pairs += static_cast<double>(task.pairs.size());
    all.prompts += task.trained > 0 ? 1.0 : 0.0;
    for (const TraceTask& trace : task.traces) {
      all.sequences += trace.trained > 0 ? 1.0 : 0.0;
      std::vector<int32_t> tokens;
      for (const SlotTarget& slot : trace.slots) tokens.push_back(slot.token);
      std::sort(tokens.begin(), tokens.end());
      all.slots += task.group->slot_weight * static_cast<double>(std::unique(tokens.begin(), tokens.end()) - tokens.begin());
    }
  }
  return all;
}

AdvantageStats ComputeStats(const std::vector<Objective>& objectives, const std::vector<ScoredGroup>& groups,
                            const std::vector<GroupTask>& tasks) {
  AdvantageStats stats;
  for (const ScoredGroup& group : groups)
    for (const ScoredTrace& scored : group.traces_G) {
      if (scored.trace.greedy || scored.label == Label::kUnknown) continue;
      stats.traces += 1.0;
      for (const Objective& objective : objectives)
        if (objective.IsPolicyGradient()) stats.value_sum += objective.weight * objective.channel.Evaluate(scored.channels).value_or(0.0);
    }
  for (const GroupTask& task : tasks)
    for (const TraceTask& trace : task.traces)
      for (size_t t = 0; t < trace.trained_T.size(); ++t) {
        if (!trace.trained_T[t]) continue;
        double a = trace.advantage_T[t];
        stats.tokens += 1.0;
        stats.advantage_sum += a, stats.advantage_squares += a * a;
        stats.advantage_max = std::max(stats.advantage_max, std::abs(a));
      }
  return stats;
}

}  // namespace candor
