// The reward channels that Candor fills. An objective names one, or an expression over them (core/channel_expression.h) and the user's own
// channels. With F = 1 when the format held, a = 1 when the answer is correct, c = the confidence, s = the soft label in [0, 1]:
//
//   format     F
//   accuracy   F·a                    missing when the label is unknown
//   soft       F·s                    missing when the label is unknown
//   brier      F·(1 − (c − a)²)       missing when the label is unknown, or when the recipe asks for no confidence
//
// These four are filled for every trace. The others only when an objective of the recipe reads them:
//
//   spherical           F·(probability given to what happened) / √(c² + (1 − c)²)
//   log                 ln(probability given to what happened), c clipped to [0.001, 0.999]; broken format: ln 0.001
//   soft_brier, soft_spherical, soft_log
//                       the rule's expectation when the answer is right with probability s: s·S(c, 1) + (1 − s)·S(c, 0). Where several
//                       people disagree, s is the share that says correct
//   ungated_accuracy    a, also where the format broke behind a complete answer (CREDO's additive form: 0.5*format + ungated_accuracy)
//   confidence          F·c
//   abstained           F·1[the answer is one of [reward] abstain]
//   thresholded         1 correct, 0 abstained, −t/(1 − t) wrong or broken; t = [reward] answer_threshold (Kalai et al., 2509.04664):
//                       answering pays where P(correct) > t
//   denoised            (F·a − α)/(1 − α − β): its mean is the true accuracy though the verifier calls a share α of wrong answers correct
//                       and a share β of correct ones wrong ([reward] label_noise = both, or label_false_positive and
//                       label_false_negative). Outside [0, 1]: no slot can be regressed on it
//   denoised_brier      with S(c, a) = 1 − (c − a)²: called correct ((1 − α) S(c, 1) − β S(c, 0))/(1 − α − β), called wrong
//                       ((1 − β) S(c, 0) − α S(c, 1))/(1 − α − β). Its mean is the brier of the true label (Natarajan et al. 2013);
//                       broken format: −α/(1 − α − β)
// and those that look at the whole group (group_channels.h): tiar, majority, majority_true, hybrid_brier, hybrid_gap, rubric, contrast,
// baseline; and the policy's own view of its answer (policy_channels.h): self_certainty, mean_log_prob, lowest_window, answer_span,
// answer_prob, answer_margin, rlpr, reference_prob, dro.
//
// accuracy + brier − 1 is the paper's RLCR reward a − (c − a)² (arXiv 2507.16806), 0.5·format + 0.5·accuracy + 0.5·brier its code's. A
// completion that broke the format is wrong, not unknown: each channel gives it the least there is. Pure, any thread.
#pragma once
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "core/confidence.h"
#include "core/result.h"
#include "core/trace.h"
#include "reward/options.h"

namespace candor {

// What `log` clips confidences to: [kLogRewardClip, 1 - kLogRewardClip], as Rewarding Doubt does (arXiv 2503.02623).
inline constexpr double kLogRewardClip = 1e-3;

// How often a wrong answer is called correct, and a correct one wrong.
struct LabelNoise {
  double false_positive = 0.0, false_negative = 0.0;
};
// label_noise of both, or each of its own; an error unless they sum to less than 1.
Result<LabelNoise> LabelNoiseOf(const RewardOptions& options);

struct ChannelInputs {
  bool format_ok = false;
  Label label = Label::kUnknown;  // kWrong when format_ok is false
  double soft_label = 0.0;
  bool wants_confidence = false;
  std::optional<Confidence> confidence = std::nullopt;  // set when format_ok and wants_confidence
  bool abstained = false;
  Label answer_label = Label::kUnknown;  // of the answer whatever the format; kWrong when there is none
  double answer_threshold = 0.5;
  LabelNoise noise = {};
};

// The four that are always filled. A missing channel is absent from the map, never 0.
std::map<std::string, double> ComputeChannels(const ChannelInputs& inputs);
// Adds those of `wanted` that one trace decides.
void AddWantedChannels(const ChannelInputs& inputs, const std::set<std::string>& wanted, std::map<std::string, double>& channels);

// The names that Candor can fill under these options, and all names that no verifier may take.
std::vector<std::string> FilledChannels(const RewardOptions& options, bool has_confidence);
const std::vector<std::string>& ReservedChannels();

}  // namespace candor
