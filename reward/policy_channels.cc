#include "reward/policy_channels.h"

#include <algorithm>
#include <cmath>
#include <functional>
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

// The weights of dro; empty where nothing can be compared.
std::vector<double> ReflectionWeights(const std::vector<double>& spread_R) {
  std::vector<double> weights_R = spread_R;
  const double sum = std::accumulate(weights_R.begin(), weights_R.end(), 0.0);
  for (double& w : weights_R) w = sum > 0.0 ? w / sum : 1.0 / static_cast<double>(weights_R.size());
  return weights_R;
}

std::vector<bool> ReflectiveTokens(const ReflectionRules& rules, const std::vector<double>& spread_R) {
  const double most = spread_R.empty() ? 0.0 : *std::max_element(spread_R.begin(), spread_R.end());
  std::vector<bool> reflective_R;
  for (const double s : spread_R) reflective_R.push_back(most > 0.0 && s >= rules.reflective * most);
  return reflective_R;
}

constexpr double kLeastKept = 1e-9;  // gamma = 0 behind an impossible token would be minus infinity

// log P_k(j) summed over the reflective k before j.
double PropagatedDoubt(const ReflectionRules& rules, const std::vector<bool>& reflective_R, const std::vector<float>& log_probs_R,
                       size_t j) {
  double doubt = 0.0;
  for (size_t k = 0; k < j; ++k) {
    if (!reflective_R[k]) continue;
    const double p = std::exp(std::min(0.0, static_cast<double>(log_probs_R[k])));
    doubt += std::log(std::max(kLeastKept, p + (1.0 - p) * (1.0 - std::exp(-rules.gamma * static_cast<double>(j - k)))));
  }
  return doubt;
}

// One of the three forms of dro: `term` is what token j is worth to a trace.
void AddReflection(const char* channel, const std::vector<double>& weights_R, const auto& term, std::vector<ScoredTrace>& traces_G) {
  std::optional<double> lowest;
  for (ScoredTrace& scored : traces_G) {
    if (!Comparable(scored, weights_R.size())) continue;
    double value = 0.0;
    for (size_t j = 0; j < weights_R.size(); ++j) value += weights_R[j] * term(scored.trace.reference_log_probs_R, j);
    scored.channels[channel] = value;
    if (!scored.trace.greedy) lowest = std::min(lowest.value_or(value), value);
  }
  for (ScoredTrace& scored : traces_G)
    if (!scored.format_ok && lowest) scored.channels[channel] = *lowest;
}

void AddReflections(const std::set<std::string>& wanted, const ReflectionRules& rules, const std::vector<float>& base_R,
                    std::vector<ScoredTrace>& traces_G) {
  const std::vector<double> spread_R = ReferenceSpread(traces_G);
  if (spread_R.empty()) return;
  const std::vector<double> weights_R = ReflectionWeights(spread_R);
  const std::vector<bool> reflective_R = ReflectiveTokens(rules, spread_R);
  const auto plain = [](const std::vector<float>& l_R, size_t j) { return static_cast<double>(l_R[j]); };
  if (wanted.contains("dro")) AddReflection("dro", weights_R, plain, traces_G);
  if (wanted.contains("dro_propagated"))
    AddReflection(
        "dro_propagated", weights_R,
        [&](const std::vector<float>& l_R, size_t j) { return plain(l_R, j) + PropagatedDoubt(rules, reflective_R, l_R, j); }, traces_G);
  if (wanted.contains("dro_over_base") && base_R.size() == weights_R.size())
    AddReflection(
        "dro_over_base", weights_R, [&](const std::vector<float>& l_R, size_t j) { return plain(l_R, j) - plain(base_R, j); }, traces_G);
}

void AddLength(const ReflectionRules& rules, size_t reference, ScoredTrace& scored) {
  const double y = static_cast<double>(reference), own = static_cast<double>(CountCharacters(scored.answer));
  scored.channels["reference_length"] = scored.format_ok ? std::max(0.0, 1.0 - rules.length_beta * std::abs(y - own) / y) : 0.0;
}

}  // namespace

bool NeedsReference(const std::set<std::string>& channels) {
  return std::ranges::any_of(std::initializer_list<const char*>{"rlpr", "reference_prob", "dro", "dro_propagated", "dro_over_base"},
                             [&](const char* name) { return channels.contains(name); });
}

size_t CountCharacters(std::string_view text) {
  return static_cast<size_t>(std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

void AddPolicyChannels(const std::set<std::string>& wanted, const ReflectionRules& rules, const ReferenceFacts& reference,
                       std::vector<ScoredTrace>& traces_G) {
  for (ScoredTrace& scored : traces_G) {
    AddSignals(wanted, scored);
    AddProbabilities(wanted, reference.base_R, scored);
    if (wanted.contains("reference_length") && reference.characters > 0) AddLength(rules, reference.characters, scored);
  }
  AddReflections(wanted, rules, reference.base_R, traces_G);
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

std::optional<double> WorstRank(const ScoredTrace& scored, double share) {
  std::vector<int32_t> ranks_R = scored.trace.reference_ranks_R;
  if (!scored.format_ok || ranks_R.empty()) return std::nullopt;
  const auto size = static_cast<double>(ranks_R.size());
  const auto worst = std::clamp<size_t>(static_cast<size_t>(std::ceil(share * size - 1e-9)), 1, ranks_R.size());
  std::ranges::sort(ranks_R, std::greater<>());
  return std::accumulate(ranks_R.begin(), ranks_R.begin() + static_cast<std::ptrdiff_t>(worst), 0.0) / static_cast<double>(worst);
}

}  // namespace candor
