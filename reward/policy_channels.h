// Channels that are the policy's own view of its answer: no verifier has a part in them (core/channel_expression.h, PolicyChannels). They
// make a policy surer or more fluent, which is not the same as right; no confidence may be calibrated on them. Filled only when an
// objective reads them.
//
//   self_certainty, mean_log_prob, lowest_window    the trace's signal (rollout/signals.h), whatever the format. INTUITOR rewards the
//   first:
//                   KL(uniform || policy) averaged over tokens; its code's logsumexp - mean differs by the constant ln V
//   answer_span, answer_prob, answer_margin         the signal over the answer's tokens; 0 where the format broke. Ranking traces by one of
//                   them and preferring the highest is RLSF (arXiv 2507.21931); answer_margin is CoT decoding's mean p1 - p2
// With l_ij = log p(token j of the row's reference answer | prompt, trace i's reasoning, the reference's tokens before j), b_j the same
// without reasoning (rollout/reference_scorer.h):
//   reference_prob  mean over j of exp l_ij; 0 where the format broke
//   rlpr            max(0, reference_prob - mean over j of exp b_j); 0 where the format broke                     (OpenBMB/RLPR prob.py)
//   dro             sum over j of w_j l_ij, w_j = s_j / sum of s, s_j the standard deviation (n) over the group's sampled traces of l_ij:
//                   tokens that the reasoning decides count, the others do not (reflection reward of DRO, arXiv 2506.13351, with w
//                   proportional to s; all alike where nothing varies). A trace that broke the format gets the group's lowest
//   dro_propagated  the same with l_ij + sum over reflective tokens k < j of log P_k(j), P_k(j) = p_k + (1 - p_k)(1 - exp(-gamma (j - k))),
//                   p_k = exp l_ik: the reference's own tokens correct what the reasoning got wrong at k, so that certainty behind a
//                   token that it did not expect is not its merit; the doubt fades with the distance. Reflective: s_k at least
//                   `reflective` times the largest s (which tokens the paper means is not grounded)
//   dro_over_base   sum over j of w_j (l_ij - b_j), the paper's cheaper form with an empty reasoning as the masked one: one number less for
//                   every trace of the prompt, so that a group's mean removes it again
//   reference_length  max(0, 1 - length_beta |  |y| - |y^|  | / |y|), lengths in characters of the row's first answer y and of the trace's;
//                   0 where the format broke. The paper has no floor at 0
// Missing where the signal or the scores are missing. Pure, any thread.
#pragma once
#include <optional>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/trace.h"

namespace candor {

// Whether one of the channels needs the reference answer's log-probabilities.
bool NeedsReference(const std::set<std::string>& channels);

struct ReflectionRules {
  double gamma = 0.5, reflective = 0.5, length_beta = 1.0;
};
// What the row's reference answer is, besides the traces' scores of it.
struct ReferenceFacts {
  std::vector<float> base_R;
  size_t characters = 0;  // 0: not known
};
void AddPolicyChannels(const std::set<std::string>& wanted, const ReflectionRules& rules, const ReferenceFacts& reference,
                       std::vector<ScoredTrace>& traces_G);
// Of UTF-8 text.
size_t CountCharacters(std::string_view text);

// s_j of `dro`: what its weights and the filter reference_spread both look at. Over sampled traces that kept the format and have as many
// scores as the first of them; empty where there are none.
std::vector<double> ReferenceSpread(std::span<const ScoredTrace> traces_G);
// The mean rank of the `share` of the reference's tokens (at least one) that the policy ranked worst behind this trace's reasoning, 1 =
// always its first choice; nullopt: no ranks, or the format broke. DRO drops prompts where no reasoning brings it down (arXiv 2506.13351).
std::optional<double> WorstRank(const ScoredTrace& scored, double share);

}  // namespace candor
