// Multi-class scores and disagreement.
#include "calibration/multiclass.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "calibration/bins.h"
#include "calibration/undefined.h"

namespace candor::calibration {
namespace {

double PLogP(double p) { return p > 0.0 ? p * std::log(p) : 0.0; }
double Entropy(const std::vector<double>& p_K) {
  double sum = 0.0;
  for (double p : p_K) sum -= PLogP(p);
  return sum;
}
double Gini(const std::vector<double>& p_K) {
  double sum = 1.0;
  for (double p : p_K) sum -= p * p;
  return sum;
}

double Pearson(const std::vector<double>& a, const std::vector<double>& b) {
  const double n = static_cast<double>(a.size());
  const double mean_a = std::accumulate(a.begin(), a.end(), 0.0) / n, mean_b = std::accumulate(b.begin(), b.end(), 0.0) / n;
  double ab = 0.0, aa = 0.0, bb = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    ab += (a[i] - mean_a) * (b[i] - mean_b);
    aa += (a[i] - mean_a) * (a[i] - mean_a);
    bb += (b[i] - mean_b) * (b[i] - mean_b);
  }
  return aa > 0.0 && bb > 0.0 ? ab / std::sqrt(aa * bb) : kNaN;
}

}  // namespace

double MulticlassBrier(const std::vector<std::vector<double>>& probs_NK, const std::vector<int>& gold_N) {
  if (probs_NK.empty()) return kNaN;
  double sum = 0.0;
  for (size_t i = 0; i < probs_NK.size(); ++i)
    for (size_t k = 0; k < probs_NK[i].size(); ++k) {
      const double gap = probs_NK[i][k] - (static_cast<int>(k) == gold_N[i] ? 1.0 : 0.0);
      sum += gap * gap;
    }
  return sum / static_cast<double>(probs_NK.size());
}

std::vector<double> ClasswiseEce(const std::vector<std::vector<double>>& probs_NK, const std::vector<int>& gold_N, int bins) {
  std::vector<double> eces;
  for (size_t k = 0; !probs_NK.empty() && k < probs_NK.front().size(); ++k) {
    Points points;
    for (size_t i = 0; i < probs_NK.size(); ++i) points.push_back({probs_NK[i][k], static_cast<int>(k) == gold_N[i] ? 1.0 : 0.0, i});
    eces.push_back(Ece(EqualWidthBins(points, bins)));
  }
  return eces;
}

Disagreement ComputeDisagreement(const std::vector<std::vector<double>>& human_counts_NK,
                                 const std::vector<std::vector<double>>& model_NK) {
  Disagreement result;
  std::vector<double> human_gini, model_gini;
  for (size_t i = 0; i < human_counts_NK.size(); ++i) {
    const auto& counts_K = human_counts_NK[i];
    const auto& model_K = model_NK[i];
    const double votes = std::accumulate(counts_K.begin(), counts_K.end(), 0.0);
    std::vector<double> human_K, middle_K;
    double variation = 0.0, squared = 0.0, cross = 0.0, same_pairs = 0.0;
    for (size_t k = 0; k < counts_K.size(); ++k) {
      const double human = votes > 0.0 ? counts_K[k] / votes : kNaN;
      human_K.push_back(human);
      middle_K.push_back((human + model_K[k]) / 2.0);
      variation += std::abs(human - model_K[k]) / 2.0;
      squared += (human - model_K[k]) * (human - model_K[k]);
      if (human > 0.0) cross -= human * std::log(model_K[k]);  // infinite when people choose what the model excludes
      same_pairs += counts_K[k] * (counts_K[k] - 1.0);
    }
    result.total_variation_N.push_back(variation);
    result.jensen_shannon_N.push_back(Entropy(middle_K) - (Entropy(human_K) + Entropy(model_K)) / 2.0);
    result.soft_brier_N.push_back(squared);
    result.cross_entropy_N.push_back(cross);
    result.human_entropy_N.push_back(Entropy(human_K));
    result.model_entropy_N.push_back(Entropy(model_K));
    result.human_pair_disagreement_N.push_back(votes > 1.0 ? 1.0 - same_pairs / (votes * (votes - 1.0)) : kNaN);
    human_gini.push_back(Gini(human_K));
    model_gini.push_back(Gini(model_K));
  }
  result.entropy_correlation = Pearson(result.human_entropy_N, result.model_entropy_N);
  result.gini_correlation = Pearson(human_gini, model_gini);
  return result;
}

}  // namespace candor::calibration
