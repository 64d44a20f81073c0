#include "trainer/report_sums.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "trainer/exchange.h"

namespace candor {

namespace {
constexpr size_t kFields = sizeof(ReportSums) / sizeof(double);
static_assert(std::is_trivially_copyable_v<ReportSums> && sizeof(ReportSums) == kFields * sizeof(double));

double Mean(double sum, double count) { return count > 0.0 ? sum / count : 0.0; }
}  // namespace

Result<ReportSums> SumOverRanks(Collective& collective, const ReportSums& mine) {
  std::vector<double> flat(kFields);
  std::memcpy(flat.data(), &mine, sizeof mine);
  CANDOR_ASSIGN(auto by_rank, GatherDoubles(collective, flat));
  std::vector<double> total(kFields, 0.0);
  for (const std::vector<double>& one : by_rank)
    for (size_t i = 0; i < kFields; ++i) total[i] = i + ReportSums::kMaxima < kFields ? total[i] + one[i] : std::max(total[i], one[i]);
  ReportSums sums;
  std::memcpy(static_cast<void*>(&sums), total.data(), sizeof sums);
  return sums;
}

void AddMetrics(const ReportSums& s, std::map<std::string, double>& m) {
  m["loss/all"] = s.loss;
  m["loss/policy"] = s.policy_loss;
  m["loss/slot"] = s.slot_loss;
  m["reward/all/mean"] = Mean(s.values, s.traces);
  m["groups/planned"] = s.groups;
  m["groups/kept"] = s.groups_kept;
  m["tokens/trained"] = s.tokens;
  m["tokens/completion"] = s.completion_tokens;
  m["seq_len/all/mean"] = Mean(s.completion_tokens, s.traces);
  m["entropy/all/mean"] = Mean(s.entropy, s.sampled_tokens);
  m["entropy/rollout/mean"] = Mean(s.rollout_entropy, s.sampled_tokens);
  m["mismatch/abs/mean"] = Mean(s.mismatch_abs, s.sampled_tokens);
  m["mismatch/abs/max"] = s.mismatch_abs_max;
  m["mismatch_kl/all/mean"] = Mean(s.mismatch_kl, s.sampled_tokens);
  m["mismatch_kl/all/max"] = s.mismatch_kl_max;
  if (s.same_tokens > 0.0) {
    m["mismatch/same_version/abs/mean"] = Mean(s.same_mismatch_abs, s.same_tokens);
    m["mismatch/same_version/abs/max"] = s.same_mismatch_abs_max;
  }
  m["staleness/versions/mean"] = Mean(s.lag_versions, s.sampled_tokens);
  m["staleness/versions/max"] = s.lag_max;
  m["ratio/mean"] = Mean(s.ratio, s.tokens);
  m["ratio/max"] = s.ratio_max;
  m["clip/fraction"] = Mean(s.clipped, s.tokens);
  m["tis/mean"] = Mean(s.tis, s.tokens);
  m["reject/fraction"] = Mean(s.rejected, s.tokens);
  m["covariance/advantage_log_prob"] = Mean(s.advantage_log_prob, s.tokens) - Mean(s.advantage, s.tokens) * Mean(s.log_prob, s.tokens);
  if (s.kl_tokens > 0.0) m["kl/reference/mean"] = Mean(s.kl, s.kl_tokens);
  if (s.pairs > 0.0) {
    m["loss/preference"] = s.preference_loss;
    m["preference/pairs"] = s.pairs;
    m["preference/margin/mean"] = Mean(s.pair_margin, s.pairs);
  }
  m["advantage/mean"] = Mean(s.advantage, s.tokens);
  m["advantage/std"] = std::sqrt(std::max(0.0, Mean(s.advantage_squares, s.tokens) - std::pow(Mean(s.advantage, s.tokens), 2.0)));
  m["advantage/max_abs"] = s.advantage_max;
  if (s.slots > 0.0) {
    m["slot/count"] = s.slots;
    m["slot/brier"] = Mean(s.slot_brier, s.slots);
    m["slot/confidence/mean"] = Mean(s.slot_confidence, s.slots);
    m["slot/target/mean"] = Mean(s.slot_target, s.slots);
  }
}

}  // namespace candor
