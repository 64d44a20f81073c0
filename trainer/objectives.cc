#include "trainer/objectives.h"

#include "core/check.h"

namespace candor {

namespace {

Result<LossKind> ParseLoss(const ObjectiveOptions& o, const std::string& where) {
  if (o.loss == "policy_gradient") return LossKind::kPolicyGradient;
  if (o.loss == "squared_error") return LossKind::kSquaredError;
  if (o.loss == "cross_entropy") return LossKind::kCrossEntropy;
  if (o.loss == "preference") return LossKind::kPreference;
  return Fail(ErrorCode::kInvalidInput, "unknown loss \"" + o.loss + "\"", where,
              "policy_gradient, squared_error, cross_entropy or preference");
}

Result<AdvantageKind> ParseAdvantage(const ObjectiveOptions& o, const std::string& where) {
  if (o.advantage == "group_mean") return AdvantageKind::kGroupMean;
  if (o.advantage == "leave_one_out") return AdvantageKind::kLeaveOneOut;
  if (o.advantage == "batch_std") return AdvantageKind::kBatchStd;
  if (o.advantage == "group_std") return AdvantageKind::kGroupStd;
  if (o.advantage == "none") return AdvantageKind::kNone;
  if (o.advantage == "pass_at_k") return AdvantageKind::kPassAtK;
  if (o.advantage == "positive_only") return AdvantageKind::kPositiveOnly;
  if (o.advantage == "negative_only") return AdvantageKind::kNegativeOnly;
  if (o.advantage == "weighted_reinforce") return AdvantageKind::kWeightedReinforce;
  if (o.advantage == "contrastive_baseline") return AdvantageKind::kContrastiveBaseline;
  return Fail(ErrorCode::kInvalidInput, "unknown advantage \"" + o.advantage + "\"", where,
              "group_mean, leave_one_out, batch_std, group_std, contrastive_baseline, none, pass_at_k, positive_only, negative_only or "
              "weighted_reinforce");
}

Status CheckWeight(const ObjectiveOptions& o, const Objective& objective, const std::string& where) {
  for (const double weight : {o.weight, o.weight_to, o.weight_max})
    if (!(0.0 <= weight && weight < 1e12)) return Fail(ErrorCode::kInvalidInput, "a weight must be at least 0 and finite", where);
  const bool centred = objective.advantage == AdvantageKind::kGroupMean || objective.advantage == AdvantageKind::kLeaveOneOut;
  if (objective.schedule.kind == WeightKind::kMatchStd && !(objective.IsPolicyGradient() && centred))
    return Fail(ErrorCode::kInvalidInput, "weight_schedule = \"match_std\" scales values that are compared with their group's mean", where,
                "loss = \"policy_gradient\" with advantage = \"group_mean\" or \"leave_one_out\"");
  return {};
}

Result<Objective> CheckOne(const ObjectiveOptions& o, int64_t run_steps, const std::string& where) {
  CANDOR_ASSIGN(ChannelExpression channel, ChannelExpression::Parse(o.channel));
  CANDOR_ASSIGN(LossKind loss, ParseLoss(o, where));
  CANDOR_ASSIGN(AdvantageKind advantage, ParseAdvantage(o, where));
  Objective objective{std::move(channel),
                      std::nullopt,
                      loss,
                      advantage,
                      o.weight,
                      o.target,
                      o.pass_k,
                      o.positive_weight,
                      o.preference_beta,
                      WeightScheduleOf(o, run_steps)};
  objective.discrepancy = {o.discrepancy, o.discrepancy_low, o.discrepancy_high, o.discrepancy_steps};
  objective.kappa = objective.discrepancy.KappaAt(0);
  objective.needs_label = !objective.channel.NeedsNoLabel() && loss != LossKind::kPreference;
  if (o.segment != "all") {
    objective.segment = SegmentFromName(o.segment);
    if (!objective.segment || *objective.segment == Segment::kNone)
      return Fail(ErrorCode::kInvalidInput, "unknown segment \"" + o.segment + "\"", where,
                  "all, reasoning, answer, analysis, confidence or slot");
  }
  bool on_slot = objective.segment == Segment::kSlot;
  if (on_slot && !objective.TrainsSlot())
    return Fail(ErrorCode::kInvalidInput, "a policy gradient cannot reach the slot: its token is read, not sampled", where,
                "use loss = \"squared_error\"");
  if (!on_slot && objective.TrainsSlot())
    return Fail(ErrorCode::kInvalidInput,
                "loss = \"" + o.loss + "\" regresses the slot's confidence, not the segment \"" + o.segment + "\"", where,
                "use segment = \"slot\"");
  CANDOR_TRY(CheckWeight(o, objective, where));
  if (!(0.0 <= o.target && o.target <= 1.0)) return Fail(ErrorCode::kInvalidInput, "the target must lie between 0 and 1", where);
  return objective;
}

}  // namespace

Result<std::vector<Objective>> CheckObjectives(const std::vector<ObjectiveOptions>& options, int64_t run_steps) {
  if (options.empty())
    return Fail(ErrorCode::kInvalidInput, "the recipe lists no [[objective]]: nothing would be learned", "",
                "add [[objective]] channel = \"accuracy\"");
  std::vector<Objective> objectives;
  for (size_t i = 0; i < options.size(); ++i) {
    CANDOR_ASSIGN(Objective objective, CheckOne(options[i], run_steps, "objective " + std::to_string(i + 1)));
    objectives.push_back(std::move(objective));
  }
  return objectives;
}

std::vector<Objective> WithAccuracy(std::vector<Objective> objectives) {
  Objective accuracy{ChannelExpression::Parse("accuracy").value(), std::nullopt};
  objectives.push_back(std::move(accuracy));
  return objectives;
}

void SetWeights(int64_t steps_done, const std::vector<double>& own_std, double accuracy_std, std::vector<Objective>& objectives) {
  CANDOR_CHECK(own_std.size() >= objectives.size(), "a deviation per objective");
  for (size_t k = 0; k < objectives.size(); ++k) {
    objectives[k].weight = objectives[k].schedule.At(steps_done, own_std[k], accuracy_std);
    objectives[k].kappa = objectives[k].discrepancy.KappaAt(steps_done);
  }
}

}  // namespace candor
