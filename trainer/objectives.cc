#include "trainer/objectives.h"

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

Result<Objective> CheckOne(const ObjectiveOptions& o, const std::string& where) {
  CANDOR_ASSIGN(ChannelExpression channel, ChannelExpression::Parse(o.channel));
  CANDOR_ASSIGN(LossKind loss, ParseLoss(o, where));
  CANDOR_ASSIGN(AdvantageKind advantage, ParseAdvantage(o, where));
  Objective objective{std::move(channel), std::nullopt,     loss, advantage, o.weight, o.target, o.pass_k,
                      o.positive_weight,  o.preference_beta};
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
  if (!(0.0 <= o.weight && o.weight < 1e12)) return Fail(ErrorCode::kInvalidInput, "the weight must be at least 0 and finite", where);
  if (!(0.0 <= o.target && o.target <= 1.0)) return Fail(ErrorCode::kInvalidInput, "the target must lie between 0 and 1", where);
  return objective;
}

}  // namespace

Result<std::vector<Objective>> CheckObjectives(const std::vector<ObjectiveOptions>& options) {
  if (options.empty())
    return Fail(ErrorCode::kInvalidInput, "the recipe lists no [[objective]]: nothing would be learned", "",
                "add [[objective]] channel = \"accuracy\"");
  std::vector<Objective> objectives;
  for (size_t i = 0; i < options.size(); ++i) {
    CANDOR_ASSIGN(Objective objective, CheckOne(options[i], "objective " + std::to_string(i + 1)));
    objectives.push_back(std::move(objective));
  }
  return objectives;
}

}  // namespace candor
