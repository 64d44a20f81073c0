#include "rollout/signals.h"

#include <algorithm>
#include <cmath>

#include "core/logistic.h"

namespace candor {

double SlotConfidence(double z_high, double z_low) { return Sigmoid(z_high - z_low); }

double Mean(const std::vector<float>& values) {
  double sum = 0.0;
  for (float v : values) sum += static_cast<double>(v);
  return values.empty() ? 0.0 : sum / static_cast<double>(values.size());
}

double LowestWindow(const std::vector<float>& values, int64_t window) {
  const auto n = static_cast<int64_t>(values.size());
  if (n <= window) return Mean(values);
  double sum = 0.0;
  for (int64_t i = 0; i < window; ++i) sum += static_cast<double>(values[static_cast<size_t>(i)]);
  double lowest = sum;
  for (int64_t i = window; i < n; ++i) {
    sum += static_cast<double>(values[static_cast<size_t>(i)]) - static_cast<double>(values[static_cast<size_t>(i - window)]);
    lowest = std::min(lowest, sum);
  }
  return lowest / static_cast<double>(window);
}

std::vector<int64_t> TokensWithin(const std::vector<int64_t>& end_bytes_T, ByteRange range) {
  std::vector<int64_t> tokens;
  int64_t begin = 0;
  for (size_t t = 0; t < end_bytes_T.size(); begin = end_bytes_T[t++])
    if (begin < end_bytes_T[t] && begin < range.end && range.begin < end_bytes_T[t]) tokens.push_back(static_cast<int64_t>(t));
  return tokens;
}

ByteRange TrimRange(std::string_view text, ByteRange range) {
  auto space = [&](int64_t at) { return std::string_view(" \t\r\n\f\v").find(text[static_cast<size_t>(at)]) != std::string_view::npos; };
  while (range.begin < range.end && space(range.begin)) ++range.begin;
  while (range.begin < range.end && space(range.end - 1)) --range.end;
  return range;
}

void AddAnswerSignals(const std::vector<int64_t>& answer_tokens, const std::vector<float>& log_probs_T, const std::vector<float>& margin_T,
                      std::map<std::string, double>& signals) {
  if (answer_tokens.empty()) return;
  double sum = 0.0, margin = 0.0;
  for (int64_t t : answer_tokens) {
    sum += static_cast<double>(log_probs_T[static_cast<size_t>(t)]);
    margin += static_cast<double>(margin_T[static_cast<size_t>(t)]);
  }
  const auto n = static_cast<double>(answer_tokens.size());
  signals["answer_span"] = std::exp(sum / n);
  signals["answer_prob"] = std::exp(sum);
  signals["answer_margin"] = margin / n;
}

}  // namespace candor
