// From scored groups to what is trained: per completion token the summed advantage of all objectives that reach it, per slot its target,
// and the counts that the denominators need. Pure, any thread. Legend: T completion tokens of a trace.
#pragma once
#include <vector>

#include "trainer/advantages.h"
#include "trainer/aggregation.h"
#include "trainer/losses.h"
#include "trainer/preference.h"

namespace candor {

// One regression of one slot.
struct SlotTarget {
  int32_t token = 0;  // completion index of the slot token
  LossKind loss = LossKind::kSquaredError;
  float target = 0.0f;
  float weight = 1.0f;  // the objective's times the group's, not yet divided by the sum of the groups' weights over all slots
};

struct TraceTask {
  size_t trace = 0;                // index into the group's traces
  std::vector<float> advantage_T;  // sum over objectives of weight * advantage
  std::vector<uint8_t> trained_T;  // 1 where a policy gradient reaches the token, whatever its advantage
  int32_t trained = 0;
  std::vector<SlotTarget> slots;
  bool paired = false;  // part of a preference
  bool has_work() const { return trained > 0 || !slots.empty() || paired; }
};

// Two traces of a group, by their index in it, and the tokens over which they are compared.
struct PreferencePair {
  size_t chosen = 0, rejected = 0;
  std::vector<int32_t> chosen_tokens, rejected_tokens;  // completion indices
  double beta = 0.1;
  float weight = 1.0f;  // the objective's, not yet divided by the number of pairs
};

// A group's traces that train something; the others are left out of the forward.
struct GroupTask {
  const ScoredGroup* group = nullptr;
  std::vector<TraceTask> traces;
  int32_t trained = 0;
  std::vector<PreferencePair> pairs;
};

// What the learner refuses to compute with: lengths that differ, spans that do not cover the completion, ids outside the vocabulary,
// numbers that are not finite.
Status ValidateGroup(const ScoredGroup& group, int64_t vocab_size, int64_t max_positions);

// Centred values of this rank's groups, one entry per objective, for advantage = "batch_std". Summed over ranks by the caller.
std::vector<Moments> ComputeMoments(const std::vector<Objective>& objectives, const std::vector<ScoredGroup>& groups);

// `moments` are those of the whole step. A group dropped by a filter (IsFiltered) trains its slots only; one dropped for another reason
// trains nothing. A greedy trace and a trace with an unknown label get no policy gradient; a greedy trace with a known label trains its
// slot. `groups` must outlive the tasks.
std::vector<GroupTask> PlanTasks(const std::vector<Objective>& objectives, const std::vector<ScoredGroup>& groups,
                                 const std::vector<Moments>& moments);

// GDPO's last step: all trained advantages of a step get mean 0 and standard deviation 1, over traces (each by the mean of its tokens) or
// over tokens.
enum class Whiten : uint8_t { kNone = 0, kSequences = 1, kTokens = 2 };
Moments ComputeWhitening(Whiten kind, const std::vector<GroupTask>& tasks);
// `all` is summed over ranks.
void WhitenAdvantages(const Moments& all, std::vector<GroupTask>& tasks);

// Of these tasks alone; adds up over ranks.
Denominators CountDenominators(const std::vector<GroupTask>& tasks);

// Numbers about what the groups teach, as sums, for the step's report.
struct AdvantageStats {
  double traces = 0.0;     // sampled traces with a known label
  double value_sum = 0.0;  // of sum over policy-gradient objectives of weight * value: the reward that is learned from
  double tokens = 0.0;
  double advantage_sum = 0.0, advantage_squares = 0.0, advantage_max = 0.0;  // over trained tokens; max of the magnitude
};
AdvantageStats ComputeStats(const std::vector<Objective>& objectives, const std::vector<ScoredGroup>& groups,
                            const std::vector<GroupTask>& tasks);

}  // namespace candor
