// Direct preference optimisation (DPO, arXiv 2305.18290) on pairs of traces of one prompt. With D = (sum of log p - log p_reference over
// the chosen trace's tokens) - (the same over the rejected one's):
//   loss -log sigmoid(beta D), gradient of each chosen token -beta sigmoid(-beta D), of each rejected token the opposite.
// Candor's pairs come from a group: the trace with the largest value of an objective's channel against the one with the smallest. With a
// channel that needs no verifier this is RLSF's preference reading (arXiv 2507.21931). Pure, any thread.
#pragma once
#include <optional>
#include <span>
#include <utility>
#include <vector>

namespace candor {

struct PreferenceOutputs {
  double loss = 0.0;
  double margin = 0.0;  // beta D; above 0: the policy already prefers the chosen trace more than the reference does
  double slope = 0.0;   // d loss / d log p of a chosen token; of a rejected token -slope
};
PreferenceOutputs ComputePreference(double beta, std::span<const float> chosen_C, std::span<const float> chosen_reference_C,
                                    std::span<const float> rejected_R, std::span<const float> rejected_reference_R);

// Best and worst of a group's values by position; the first of equals. nullopt when fewer than two are there or all are equal.
std::optional<std::pair<size_t, size_t>> ChoosePair(std::span<const std::optional<double>> values_G);

}  // namespace candor
