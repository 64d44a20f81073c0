// Objectives, checked: the recipe's [[objective]] list parsed once into a form that the learner can follow without asking again.
// Pure, any thread.
#pragma once
#include <vector>

#include "core/channel_expression.h"
#include "core/trace.h"
#include "core/weight_schedule.h"
#include "trainer/options.h"

namespace candor {

enum class LossKind : uint8_t { kPolicyGradient = 0, kSquaredError = 1, kCrossEntropy = 2, kPreference = 3 };
// What is subtracted from a trace's value, and what it is divided by.
enum class AdvantageKind : uint8_t {
  kGroupMean = 0,
  kLeaveOneOut = 1,
  kBatchStd = 2,
  kGroupStd = 3,
  kNone = 4,
  kPassAtK = 5,
  kPositiveOnly = 6,
  kNegativeOnly = 7,
  kWeightedReinforce = 8,
  kContrastiveBaseline = 9
};

// Discrepancy weighting (CREDO): with s = |label - confidence| of a trace, its advantage is multiplied by clip(1 + kappa (s - mean of s
// over the group), low, high). A trace without a label or a confidence keeps the factor 1 and has no part in the mean.
struct DiscrepancyWeights {
  double kappa = 0.0;
  double low = 0.5, high = 2.0;
  int64_t warm_up_steps = 0;
  // kappa at a step, by the steps done before.
  double KappaAt(int64_t steps_done) const {
    return steps_done >= warm_up_steps ? kappa : kappa * static_cast<double>(steps_done) / static_cast<double>(warm_up_steps);
  }
};

struct Objective {
  ChannelExpression channel;
  std::optional<Segment> segment;  // nullopt: every policy token outside the slot
  LossKind loss = LossKind::kPolicyGradient;
  AdvantageKind advantage = AdvantageKind::kGroupMean;
  double weight = 1.0;  // of the present step, where the schedule moves it
  double target = 1.0;
  int64_t pass_k = 4;            // kPassAtK
  double positive_weight = 0.1;  // kWeightedReinforce
  double preference_beta = 0.1;  // kPreference
  WeightSchedule schedule = {};
  bool needs_label = true;  // a trace whose label is unknown has no value
  DiscrepancyWeights discrepancy = {};
  double kappa = 0.0;           // of the present step
  bool mask_truncated = false;  // traces that were cut off get no policy gradient

  bool TrainsSlot() const { return loss == LossKind::kSquaredError || loss == LossKind::kCrossEntropy; }
  bool IsPolicyGradient() const { return loss == LossKind::kPolicyGradient; }
  // Whether a gradient of this objective reaches a token that the policy sampled.
  bool Reaches(Origin origin, Segment of_token) const {
    return !TrainsSlot() && origin == Origin::kPolicy && of_token != Segment::kSlot && (!segment || *segment == of_token);
  }
};

// Refuses, by name: an empty list, a policy gradient on the slot, a regression anywhere else, what needs components that are not there.
// `run_steps` as in WeightScheduleOf.
Result<std::vector<Objective>> CheckObjectives(const std::vector<ObjectiveOptions>& options, int64_t run_steps = 1);

// The list with the channel accuracy behind it: what a step measures (ComputeMoments) before its weights are known.
std::vector<Objective> WithAccuracy(std::vector<Objective> objectives);
// Sets the weights of a step. `own_std` and `accuracy_std`: deviations of WithAccuracy's values over all ranks.
void SetWeights(int64_t steps_done, const std::vector<double>& own_std, double accuracy_std, std::vector<Objective>& objectives);

}  // namespace candor
