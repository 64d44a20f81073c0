// Distributions over several answers: scores against one right answer, and agreement between people's and the model's distributions.
#pragma once
#include <vector>

namespace candor::calibration {

// Mean over rows of the sum over classes of (p_k - [k = gold])^2, in [0, 2]: twice the binary scale.
double MulticlassBrier(const std::vector<std::vector<double>>& probs_NK, const std::vector<int>& gold_N);
// One-against-rest ECE of each class on exact integer bins (Kull et al. 2019); the headline is their mean.
std::vector<double> ClasswiseEce(const std::vector<std::vector<double>>& probs_NK, const std::vector<int>& gold_N, int bins);

// Does the model's distribution over answers follow people's? Per item, natural logarithms; NaN where an item has no votes.
struct Disagreement {
  std::vector<double> total_variation_N, jensen_shannon_N, soft_brier_N, cross_entropy_N;
  std::vector<double> human_entropy_N, model_entropy_N;
  std::vector<double> human_pair_disagreement_N;  // chance that two different people differ (unbiased)
  double entropy_correlation = 0.0;               // Pearson over items
  double gini_correlation = 0.0;                  // of 1 - sum p^2
};
Disagreement ComputeDisagreement(const std::vector<std::vector<double>>& human_counts_NK, const std::vector<std::vector<double>>& model_NK);

}  // namespace candor::calibration
