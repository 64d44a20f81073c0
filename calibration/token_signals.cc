// Token, sequence and trace confidence.
#include "calibration/token_signals.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "calibration/intervals.h"
#include "calibration/undefined.h"

namespace candor::calibration {
namespace {
double Mean(const double* begin, const double* end) { return std::accumulate(begin, end, 0.0) / static_cast<double>(end - begin); }
}  // namespace

TokenSignals ComputeTokenSignals(const std::vector<double>& logits_V, size_t chosen, size_t top_k) {
  if (logits_V.empty() || chosen >= logits_V.size()) return {kNaN, kNaN, kNaN, kNaN, kNaN, kNaN};
  const double v = static_cast<double>(logits_V.size());
  const double max = *std::max_element(logits_V.begin(), logits_V.end());
  double sum = 0.0;
  for (double logit : logits_V) sum += std::exp(logit - max);
  const double log_sum = max + std::log(sum);
  TokenSignals result;
  std::vector<double> log_probs_V;
  for (double logit : logits_V) {
    const double log_prob = logit - log_sum;
    log_probs_V.push_back(log_prob);
    result.entropy -= std::exp(log_prob) * log_prob;
    result.intuitor -= log_prob / v;
  }
  result.self_certainty = result.intuitor - std::log(v);
  result.chosen_log_prob = log_probs_V[chosen];
  const size_t k = std::clamp<size_t>(top_k, 1, log_probs_V.size());
  std::partial_sort(log_probs_V.begin(), log_probs_V.begin() + std::max<size_t>(k, std::min<size_t>(2, log_probs_V.size())),
                    log_probs_V.end(), std::greater<>());
  result.top_k_confidence = -Mean(log_probs_V.data(), log_probs_V.data() + k);
  result.margin = log_probs_V.size() > 1 ? std::exp(log_probs_V[0]) - std::exp(log_probs_V[1]) : 1.0;
  return result;
}

SequenceSignals ComputeSequenceSignals(const std::vector<double>& chosen_log_probs_T) {
  if (chosen_log_probs_T.empty()) return {kNaN, kNaN, kNaN, kNaN, kNaN};
  const double n = static_cast<double>(chosen_log_probs_T.size());
  SequenceSignals result{0.0, 0.0, 0.0, 1.0, 0.0};
  for (double log_prob : chosen_log_probs_T) {
    result.log_prob += log_prob;
    result.min_prob = std::min(result.min_prob, std::exp(log_prob));
    result.mean_prob += std::exp(log_prob) / n;
  }
  result.mean_log_prob = result.log_prob / n;
  result.perplexity = std::exp(-result.mean_log_prob);
  return result;
}

TraceConfidence ComputeTraceConfidence(const std::vector<double>& token_confidence_T, size_t window, size_t tail) {
  if (token_confidence_T.empty() || window == 0 || tail == 0) return {{}, kNaN, kNaN, kNaN, kNaN};
  const double* begin = token_confidence_T.data();
  const double* end = begin + token_confidence_T.size();
  TraceConfidence result;
  if (token_confidence_T.size() < window) {
    result.group_means.push_back(Mean(begin, end));
  } else {
    std::vector<double> prefix(1, 0.0);
    for (double confidence : token_confidence_T) prefix.push_back(prefix.back() + confidence);
    for (size_t i = window; i < prefix.size(); ++i)
      result.group_means.push_back((prefix[i] - prefix[i - window]) / static_cast<double>(window));
  }
  result.mean = Mean(begin, end);
  result.tail = Mean(end - std::min(tail, token_confidence_T.size()), end);
  std::vector<double> sorted = result.group_means;
  std::sort(sorted.begin(), sorted.end());
  result.lowest_group = sorted.front();
  result.bottom10 = Mean(sorted.data(), sorted.data() + std::max<size_t>(1, sorted.size() / 10));
  return result;
}

double DeepConfThreshold(const std::vector<double>& warmup_lowest_groups, double keep_percent) {
  return Percentile(warmup_lowest_groups, (100.0 - keep_percent) / 100.0);
}

}  // namespace candor::calibration
