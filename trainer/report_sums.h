// Sums of one step on one rank, added up over ranks into the metrics of StepReport. Plain doubles, so that ranks can exchange them as they
// are.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/collective.h"

namespace candor {

struct ReportSums {
  // added over ranks
  double loss = 0.0, policy_loss = 0.0, slot_loss = 0.0;  // already divided by the global denominators
  double tokens = 0.0, sampled_tokens = 0.0;              // trained; all policy tokens with a recorded log-probability
  double entropy = 0.0, rollout_entropy = 0.0;            // over sampled tokens
  double mismatch_abs = 0.0, mismatch_kl = 0.0;  // |d| and exp(d) - d - 1 with d = learner - rollout log-probability, over sampled tokens
  double same_tokens = 0.0, same_mismatch_abs = 0.0;  // the tokens written by the version that the learner now holds
  double lag_versions = 0.0;
  double clipped = 0.0, ratio = 0.0, tis = 0.0;                     // over trained tokens
  double rejected = 0.0, log_prob = 0.0, advantage_log_prob = 0.0;  // over trained tokens
  double kl = 0.0, kl_tokens = 0.0;                                 // estimated distance from the reference policy
  double preference_loss = 0.0, pairs = 0.0, pair_margin = 0.0;
  double slots = 0.0, slot_brier = 0.0, slot_confidence = 0.0, slot_target = 0.0;
  double values = 0.0, traces = 0.0, groups = 0.0, groups_kept = 0.0;
  double advantage = 0.0, advantage_squares = 0.0;
  double rows = 0.0, completion_tokens = 0.0;  // rows of the model's batches; completion tokens of all traces
  // largest over ranks
  double mismatch_abs_max = 0.0, mismatch_kl_max = 0.0, same_mismatch_abs_max = 0.0, ratio_max = 0.0, advantage_max = 0.0, lag_max = 0.0;

  static constexpr size_t kMaxima = 6;  // the last fields are maxima
};

// Over all ranks, the same on each.
Result<ReportSums> SumOverRanks(Collective& collective, const ReportSums& mine);
// Named as in metrics.jsonl: "reward/all/mean", "entropy/all/mean", "mismatch_kl/all/mean", ...
void AddMetrics(const ReportSums& sums, std::map<std::string, double>& metrics);

}  // namespace candor
