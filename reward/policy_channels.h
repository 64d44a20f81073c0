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
// Missing where the signal or the scores are missing. Pure, any thread.
#pragma once
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "core/trace.h"

namespace candor {

// Whether one of the channels needs the reference answer's log-probabilities.
bool NeedsReference(const std::set<std::string>& channels);

void AddPolicyChannels(const std::set<std::string>& wanted, const std::vector<float>& reference_base_R, std::vector<ScoredTrace>& traces_G);

// s_j of `dro`: what its weights and the filter reference_spread both look at. Over sampled traces that kept the format and have as many
// scores as the first of them; empty where there are none.
std::vector<double> ReferenceSpread(std::span<const ScoredTrace> traces_G);

}  // namespace candor
