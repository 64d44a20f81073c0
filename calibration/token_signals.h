// Confidence signals from token log-probabilities. They order answers; only a fitted map makes probabilities of them.
#pragma once
#include <cstddef>
#include <vector>

namespace candor::calibration {

// Of one token's raw logits over the vocabulary (natural logarithms, before any filter).
struct TokenSignals {
  double entropy = 0.0;
  double self_certainty = 0.0;    // KL(uniform || p): 0 when uniform
  double intuitor = 0.0;          // self-certainty + ln V, the form of Intuitor's code
  double top_k_confidence = 0.0;  // -mean of the top k log-probabilities (DeepConf): high is peaked
  double chosen_log_prob = 0.0;
  double margin = 0.0;  // probability of the best minus the second best
};
TokenSignals ComputeTokenSignals(const std::vector<double>& logits_V, size_t chosen, size_t top_k = 20);

struct SequenceSignals {
  double log_prob = 0.0, mean_log_prob = 0.0, perplexity = 0.0, min_prob = 0.0, mean_prob = 0.0;
};
SequenceSignals ComputeSequenceSignals(const std::vector<double>& chosen_log_probs_T);

// DeepConf (Fu et al., arXiv 2508.15260): sliding means over `window` token confidences; a shorter trace is one group.
struct TraceConfidence {
  std::vector<double> group_means;
  double mean = 0.0, lowest_group = 0.0, bottom10 = 0.0, tail = 0.0;  // bottom10: mean of the lowest tenth of the groups, at least one
};
TraceConfidence ComputeTraceConfidence(const std::vector<double>& token_confidence_T, size_t window = 2048, size_t tail = 2048);
// Traces whose lowest group falls below this stop early: `keep_percent` of the warm-up traces would have stayed.
double DeepConfThreshold(const std::vector<double>& warmup_lowest_groups, double keep_percent);

}  // namespace candor::calibration
