// The filters on outcomes: a group whose outcomes teach the answer little is kept out of the policy gradient. They look at outcomes alone
// (a total with confidence in it varies always), and never at greedy traces. A filtered group is still trained on its slot and still
// observed: a filter selects on labels, so calibration must see what it removes (kept groups hold labels in [1/G, 1 − 1/G] only: for p = .9
// and G = 8 their mean is .824, and no weight can undo it).
//
//   accuracy   drops where the outcomes (correct, wrong, abstained) do not vary                          (DAPO, arXiv 2503.14476)
//   agreement  the same on the channel majority, without labels; a group without a majority is dropped   (for TTRL)
//   mid_band   drops also where the pass rate k/n lies outside [filter_low, filter_high]                  (arXiv 2504.03380)
//   vcrl       drops also where k(n − k)/(n(n − 1)) is less than filter_min_variance of its largest value, n/(4(n − 1)) for even n
//                                                                            (VCRL, arXiv 2509.19803)
//   reference_spread  drops, without labels, where no token of the reference answer varies over the group's reasonings by a standard
//              deviation of filter_min_spread: the statistic of the channel dro (policy_channels.h); and, where filter_max_rank is set, as
//              too hard where behind every reasoning the worst tokens have a mean rank above it (WorstRank, the channel reference_rank).
//              DRO (arXiv 2506.13351) drops the lowest share of a round instead of a fixed spread
//   reward     drops where no value that a policy gradient learns from varies over the group (verl's metric "score"): for graded rewards
//              without a confidence. With one in the value it hardly ever drops anything
//   moving_std  measures that value's standard deviation (n - 1) into the channel value_std; the coordinator compares it with a threshold
//              that follows the run (coordinator/moving_filter.h; RLPR, arXiv 2506.18254). Dropped here: a group of fewer than two values
#pragma once
#include <optional>
#include <span>
#include <vector>

#include "core/channel_expression.h"
#include "core/trace.h"
#include "reward/options.h"

namespace candor {

enum class FilterKind : uint8_t {
  kNone = 0,
  kAccuracy = 1,
  kAgreement = 2,
  kMidBand = 3,
  kVcrl = 4,
  kReferenceSpread = 5,
  kReward = 6,
  kMovingStd = 7
};
struct FilterRules {
  FilterKind kind = FilterKind::kAccuracy;
  double low = 0.0, high = 1.0, min_variance = 0.0, min_spread = 0.0, max_rank = 0.0, worst_share = 0.1;
  bool needs_label = true;  // false: an objective learns without labels, so that a group without any is kept where the kind allows it
  std::vector<ChannelExpression> values = {};  // kReward, kMovingStd (of the first): of the policy-gradient objectives
  static FilterRules From(const RewardOptions& options);
};

// kAllUnknown: no trace has a label (also with kNone, since then there is nothing to learn from, unless something needs no label).
// `abstained_G`: empty, or one per trace. Pure.
DropReason FilterGroup(const FilterRules& rules, std::span<const ScoredTrace> traces_G, const std::vector<bool>& abstained_G = {});
// kNoVariance: the labelled sampled traces agree (or there are none, but a greedy trace is labelled).
DropReason FilterByAccuracy(std::span<const ScoredTrace> traces_G, const std::vector<bool>& abstained_G = {});

// Of what the policy gradient learns from, with n - 1; nullopt below two values.
std::optional<double> ValueStd(const FilterRules& rules, std::span<const ScoredTrace> traces_G);

// VCRL's p: the group's unbiased variance over the largest there is for n.
double VarianceShare(int correct, int n);

// A group of an [[eval]] (top bit of the id): recorded, never trained.
constexpr bool IsEvaluation(GroupId id) { return (id.value >> 63) != 0; }

}  // namespace candor
