#include "reward/policy_channels.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace candor {

namespace {

// Signals that are channels; `gated`: 0 where the format broke.
struct SignalChannel {
  const char* name;
  bool gated;
};
constexpr SignalChannel kSignalChannels[] = {{"self_certainty", false}, {"mean_log_prob", false}, {"lowest_window", false},
                                             {"answer_span", true},     {"answer_prob", true},    {"answer_margin", true}};

void AddSignals(const std::set<std::string>& wanted, ScoredTrace& scored) {
  for (const SignalChannel& channel : kSignalChannels) {
    if (!wanted.contains(channel.name)) continue;
    const auto signal = scored.trace.signals.find(channel.name);
    if (channel.gated && !scored.format_ok)
      scored.channels[channel.name] = 0.0;
    else if (signal != scored.trace.signals.end())
      scored.channels[channel.name] = signal->second;
  }
}

double MeanProbability(const std::vector<float>& log_probs_R) {
  double sum = 0.0;
  for (float l : log_probs_R) sum += std::exp(std::min(0.0, static_cast<double>(l)));
  return sum / static_cast<double>(log_probs_R.size());
}

void AddProbabilities(const std::set<std::string>& wanted, const std::vector<float>& base_R, ScoredTrace& scored) {
  const std::vector<float>& own_R = scored.trace.reference_log_probs_R;
  if (!scored.format_ok) {
    for (const char* name : {"reference_prob", "rlpr"})
      if (wanted.contains(name)) scored.channels[name] = 0.0;
  } else if (!own_R.empty()) {
    const double own = MeanProbability(own_R);
    if (wanted.contains("reference_prob")) scored.channels["reference_prob"] = own;
    if (wanted.contains("rlpr") && !base_R.empty()) scored.channels["rlpr"] = std::max(0.0, own - MeanProbability(base_R));
  }
}

bool Comparable(const ScoredTrace& scored, size_t reference_tokens) {
  return scored.format_ok && reference_tokens > 0 && scored.trace.reference_log_probs_R.size() == reference_tokens;
}

// Of the sampled traces that can be compared.
size_t ReferenceTokens(std::span<const ScoredTrace> traces_G) {
  for (const ScoredTrace& scored : traces_G)
    if (!scored.trace.greedy && scored.format_ok && !scored.trace.reference_log_probs_R.empty())
      return scored.trace.reference_log_probs_R.size();
  return 0;
}

void AddReflection(std::vector<ScoredTrace>& traces_G) {
  std::vector<double> weights_R = ReferenceSpread(traces_G);
  if (weights_R.empty()) return;
  const double sum = std::accumulate(weights_R.begin(), weights_R.end(), 0.0);
  for (double& w : weights_R) w = sum > 0.0 ? w / sum : 1.0 / static_cast<double>(weights_R.size());
  std::optional<double> lowest;
  for (ScoredTrace& scored : traces_G) {
    if (!Comparable(scored, weights_R.size())) continue;
    double value = 0.0;
    for (size_t j = 0; j < weights_R.size(); ++j) value += weights_R[j] * static_cast<double>(scored.trace.reference_log_probs_R[j]);
    scored.channels["dro"] = value;
    if (!scored.trace.greedy) lowest = std::min(lowest.value_or(value), value);
  }
  for (ScoredTrace& scored : traces_G)
    if (!scored.format_ok && lowest) scored.channels["dro"] = *lowest;
}

}  // namespace

bool NeedsReference(const std::set<std::string>& channels) {
  return channels.contains("rlpr") || channels.contains("reference_prob") || channels.contains("dro");
}

void AddPolicyChannels(const std::set<std::string>& wanted, const std::vector<float>& reference_base_R,
                       std::vector<ScoredTrace>& traces_G) {
  for (ScoredTrace& scored : traces_G) {
    AddSignals(wanted, scored);
    AddProbabilities(wanted, reference_base_R, scored);
  }
  if (wanted.contains("dro")) AddReflection(traces_G);
}

std::vector<double> ReferenceSpread(std::span<const ScoredTrace> traces_G) {
  const size_t tokens = ReferenceTokens(traces_G);
  std::vector<double> spread_R(tokens, 0.0);
  for (size_t j = 0; j < tokens; ++j) {
    double n = 0.0, sum = 0.0, squares = 0.0;
    for (const ScoredTrace& scored : traces_G) {
      if (scored.trace.greedy || !Comparable(scored, tokens)) continue;
      const double l = static_cast<double>(scored.trace.reference_log_probs_R[j]);
      n += 1.0, sum += l, squares += l * l;
    }
    const double mean = sum / n;
    spread_R[j] = std::sqrt(std::max(0.0, squares / n - mean * mean));
  }
  return spread_R;
}

}  // namespace candor
