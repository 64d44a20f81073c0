#include "reward/filter.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "reward/policy_channels.h"

namespace candor {

namespace {

constexpr double kSameReward = 1e-9;  // sums of the same numbers in another order

struct Outcomes {
  int correct = 0, wrong = 0, abstained = 0, greedy = 0;  // labelled traces
  int sampled() const { return correct + wrong + abstained; }
};

Outcomes Count(std::span<const ScoredTrace> traces_G, const std::vector<bool>& abstained_G) {
  Outcomes out;
  for (size_t i = 0; i < traces_G.size(); ++i) {
    if (traces_G[i].label == Label::kUnknown) continue;
    const bool abstained = i < abstained_G.size() && abstained_G[i];
    ++(traces_G[i].trace.greedy ? out.greedy : abstained ? out.abstained : traces_G[i].label == Label::kCorrect ? out.correct : out.wrong);
  }
  return out;
}

// A vote in which all agree, or nobody wins, teaches nothing.
bool Agrees(std::span<const ScoredTrace> traces_G) {
  bool with = false, against = false;
  for (const ScoredTrace& scored : traces_G) {
    auto majority = scored.channels.find("majority");
    if (scored.trace.greedy || majority == scored.channels.end()) continue;
    (majority->second > 0.5 ? with : against) = true;
  }
  return !(with && against);
}

}  // namespace

FilterRules FilterRules::From(const RewardOptions& options) {
  FilterRules rules{FilterKind::kNone,         options.filter_low,      options.filter_high,       options.filter_min_variance,
                    options.filter_min_spread, options.filter_max_rank, options.filter_worst_share};
  if (options.filter == "accuracy") rules.kind = FilterKind::kAccuracy;
  if (options.filter == "agreement") rules.kind = FilterKind::kAgreement;
  if (options.filter == "mid_band") rules.kind = FilterKind::kMidBand;
  if (options.filter == "vcrl") rules.kind = FilterKind::kVcrl;
  if (options.filter == "reference_spread") rules.kind = FilterKind::kReferenceSpread;
  if (options.filter == "reward") rules.kind = FilterKind::kReward;
  if (options.filter == "moving_std") rules.kind = FilterKind::kMovingStd;
  return rules;
}

double VarianceShare(int correct, int n) {
  if (n < 2) return 0.0;
  const double k = correct, all = n;
  return (k * (all - k) / (all * (all - 1.0))) / (all / (4.0 * (all - 1.0)));
}

static DropReason ZeroVariance(const Outcomes& out) {
  if ((out.correct > 0) + (out.wrong > 0) + (out.abstained > 0) > 1) return DropReason::kNone;
  return out.sampled() + out.greedy > 0 ? DropReason::kNoVariance : DropReason::kAllUnknown;
}

// Behind every reasoning of which a rank is known.
static bool TooHard(const FilterRules& rules, std::span<const ScoredTrace> traces_G) {
  std::optional<double> least;
  for (const ScoredTrace& scored : traces_G) {
    const std::optional<double> rank = scored.trace.greedy ? std::nullopt : WorstRank(scored, rules.worst_share);
    if (rank) least = std::min(least.value_or(*rank), *rank);
  }
  return rules.max_rank > 0.0 && least && *least > rules.max_rank;
}

static DropReason BySpread(const FilterRules& rules, std::span<const ScoredTrace> traces_G) {
  if (TooHard(rules, traces_G)) return DropReason::kTooHard;
  const std::vector<double> spread_R = ReferenceSpread(traces_G);
  const bool varies = std::any_of(spread_R.begin(), spread_R.end(), [&](double s) { return s >= rules.min_spread; });
  return varies ? DropReason::kNone : DropReason::kLowVariance;
}

// A greedy trace has none, nor one without a label where the value needs it.
static std::vector<double> ValuesOf(const ChannelExpression& value, std::span<const ScoredTrace> traces_G) {
  std::vector<double> values;
  for (const ScoredTrace& scored : traces_G) {
    const bool member = !scored.trace.greedy && (scored.label != Label::kUnknown || value.NeedsNoLabel());
    const std::optional<double> one = member ? value.Evaluate(scored.channels) : std::nullopt;
    if (one) values.push_back(*one);
  }
  return values;
}

std::optional<double> ValueStd(const FilterRules& rules, std::span<const ScoredTrace> traces_G) {
  if (rules.values.empty()) return std::nullopt;
  const std::vector<double> values = ValuesOf(rules.values.front(), traces_G);
  if (values.size() < 2) return std::nullopt;
  const double n = static_cast<double>(values.size()), mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0.0;
  for (const double x : values) squares += (x - mean) * (x - mean);
  return std::sqrt(squares / (n - 1.0));
}

static DropReason ByReward(const FilterRules& rules, std::span<const ScoredTrace> traces_G) {
  bool known = false;
  for (const ChannelExpression& value : rules.values) {
    const std::vector<double> values = ValuesOf(value, traces_G);
    if (values.empty()) continue;
    known = true;
    const auto [least, most] = std::minmax_element(values.begin(), values.end());
    if (*most - *least > kSameReward) return DropReason::kNone;
  }
  return known ? DropReason::kNoVariance : DropReason::kAllUnknown;
}

DropReason FilterByAccuracy(std::span<const ScoredTrace> traces_G, const std::vector<bool>& abstained_G) {
  return ZeroVariance(Count(traces_G, abstained_G));
}

DropReason FilterGroup(const FilterRules& rules, std::span<const ScoredTrace> traces_G, const std::vector<bool>& abstained_G) {
  const Outcomes out = Count(traces_G, abstained_G);
  if (rules.kind == FilterKind::kReferenceSpread) return BySpread(rules, traces_G);
  if (rules.kind == FilterKind::kNone && !rules.needs_label) return DropReason::kNone;
  if (rules.kind == FilterKind::kReward) {
    const DropReason reason = ByReward(rules, traces_G);
    return reason == DropReason::kAllUnknown && out.greedy > 0 ? DropReason::kNoVariance : reason;
  }
  if (rules.kind == FilterKind::kMovingStd) {
    if (ValueStd(rules, traces_G)) return DropReason::kNone;
    return out.sampled() + out.greedy > 0 ? DropReason::kNoVariance : DropReason::kAllUnknown;
  }
  const DropReason zero_variance = ZeroVariance(out);
  if (zero_variance == DropReason::kAllUnknown) return zero_variance;
  const double rate = out.sampled() > 0 ? static_cast<double>(out.correct) / out.sampled() : 0.0;
  switch (rules.kind) {
    case FilterKind::kNone:
    case FilterKind::kReferenceSpread:  // answered above
    case FilterKind::kReward:
    case FilterKind::kMovingStd:
      return DropReason::kNone;
    case FilterKind::kAccuracy:
      return zero_variance;
    case FilterKind::kAgreement:
      return Agrees(traces_G) ? DropReason::kNoVariance : DropReason::kNone;
    case FilterKind::kMidBand:
      if (zero_variance != DropReason::kNone) return zero_variance;
      return rules.low <= rate && rate <= rules.high ? DropReason::kNone : DropReason::kOutsideBand;
    case FilterKind::kVcrl:
      if (zero_variance != DropReason::kNone) return zero_variance;
      return VarianceShare(out.correct, out.sampled()) >= rules.min_variance ? DropReason::kNone : DropReason::kLowVariance;
  }
  return zero_variance;
}

}  // namespace candor
