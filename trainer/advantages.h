// Advantages: from the values of one group's traces to how much better each was than the group. Pure, any thread.
//
// A trace whose label is unknown, or that was decoded greedily, has no value (nullopt): it never enters a baseline and its advantage is 0.
// Where no verifier has a part in the value (ChannelExpression::NeedsNoLabel, and every preference) an unknown label is no obstacle.
// With m and s the mean and standard deviation (n - 1) of the n values of the group:
//   group_mean     r - m                    Dr.GRPO (arXiv 2503.20783); also RLCR's scale_rewards = false
//   leave_one_out  (r - m) n / (n - 1)      RLOO: the baseline is the mean of the others
//   group_std      (r - m) / (s + 1e-6)     GRPO as in verl; makes stated probabilities overconfident (arXiv 2508.11800)
//   batch_std      (r - m) / (S + 1e-6)     S: standard deviation of all centred values of the step (ScaleRL, arXiv 2510.13786); one
//                  positive constant cannot flip a sign
//   none           r
//   contrastive_baseline  r - b, b = the channel baseline: the mean score of the row's stored answers (arXiv 2403.07708). The same for
//   every
//                  trace of the prompt, so that one trace is enough; a row without stored answers trains nothing
// With c of the n values above 0 (right), whatever their size:
//   pass_at_k      probability that at least one of k is right: rho = 1 - C(n-c, k) / C(n, k), s = sqrt(rho (1 - rho));
//                  right (1 - rho) / (s + 1e-6), wrong (1 - rho - C(n-c-1, k-1) / C(n-1, k-1)) / (s + 1e-6); 0 below k values
//                  (Passk_Training, passk_adv.py)
//   positive_only  +1 for right, the others are left out      PSR, NSR and W-REINFORCE of arXiv 2506.01347: no baseline, nothing is divided
//   negative_only  -1 for the others, right is left out
//   weighted_reinforce  positive_weight for right, -1 for the others
// A group of one value has no baseline: its advantage is 0, except with none, contrastive_baseline and the three last.
#pragma once
#include <optional>
#include <span>
#include <vector>

#include "trainer/objectives.h"

namespace candor {

// Count, sum and sum of squares of centred values; adds up over groups and ranks.
struct Moments {
  double count = 0.0;
  double sum = 0.0;
  double sum_squares = 0.0;
  void Add(double x) { count += 1.0, sum += x, sum_squares += x * x; }
  // Standard deviation with n - 1; 0 below two values.
  double Std() const;
};

// What one objective sees of each trace.
std::vector<std::optional<double>> ObjectiveValues(const Objective& objective, const ScoredGroup& group);
// Mean of the values that are there; nullopt when there are none.
std::optional<double> GroupMean(std::span<const std::optional<double>> values_G);
// Adds each value's distance from its group's mean.
void AddCentred(std::span<const std::optional<double>> values_G, Moments& moments);
// `batch_std` is read by kBatchStd alone.
std::vector<double> ComputeAdvantages(AdvantageKind kind, std::span<const std::optional<double>> values_G, double batch_std);
// The same for every kind, with the objective's own numbers; nullopt: the trace trains nothing.
std::vector<std::optional<double>> ComputeAdvantages(const Objective& objective, std::span<const std::optional<double>> values_G,
                                                     double batch_std);
// Each trace's factor by discrepancy (objectives.h), with the objective's kappa of the present step.
std::vector<double> DiscrepancyFactors(const Objective& objective, const ScoredGroup& group);
// Of n draws c are right: the probability that k of them, taken without putting back, hold a right one. Unbiased for pass@k; k <= n.
double PassAtK(double n, double c, double k);

}  // namespace candor
