#include "trainer/token_covariance.h"

#include <algorithm>
#include <cmath>

#include "core/rng.h"

namespace candor {

namespace {

double CountTokens(const CovarianceInputs& in) {
  return static_cast<double>(std::count_if(in.weights_M.begin(), in.weights_M.end(), [](float w) { return w != 0.0f; }));
}

size_t HowMany(double fraction, const CovarianceInputs& in) {
  return std::max<size_t>(1, static_cast<size_t>(std::floor(fraction * CountTokens(in))));
}

// Marks the first `count` of `candidates` in the order of `before`.
template <typename Before>
std::vector<uint8_t> MarkFirst(std::vector<size_t> candidates, size_t count, size_t tokens, Before before) {
  std::vector<uint8_t> chosen(tokens, 0);
  std::stable_sort(candidates.begin(), candidates.end(), before);
  for (size_t i = 0; i < std::min(count, candidates.size()); ++i) chosen[candidates[i]] = 1;
  return chosen;
}

}  // namespace

std::vector<double> ComputeTokenCovariances(const CovarianceInputs& in) {
  const size_t m = in.weights_M.size();
  double n = CountTokens(in), advantage = 0.0, log_prob = 0.0;
  std::vector<double> covariances(m, 0.0);
  if (n == 0.0) return covariances;
  for (size_t i = 0; i < m; ++i)
    if (in.weights_M[i] != 0.0f) advantage += in.advantages_M[i], log_prob += in.log_probs_M[i];
  for (size_t i = 0; i < m; ++i)
    if (in.weights_M[i] != 0.0f) covariances[i] = (in.advantages_M[i] - advantage / n) * (in.log_probs_M[i] - log_prob / n);
  return covariances;
}

std::vector<uint8_t> ChooseClipCov(const ClipCovChoice& choice, const CovarianceInputs& in, std::span<const uint8_t> may_M) {
  const std::vector<double> covariances = ComputeTokenCovariances(in);
  std::vector<size_t> candidates;
  for (size_t i = 0; i < covariances.size(); ++i)
    if (in.weights_M[i] != 0.0f && may_M[i] && choice.low < covariances[i] && covariances[i] < choice.high) candidates.push_back(i);
  const auto key = [&](size_t i) { return RandomBits(choice.draw, RngStream::kTokenChoice, i); };
  return MarkFirst(candidates, HowMany(choice.fraction, in), covariances.size(), [&](size_t a, size_t b) { return key(a) < key(b); });
}

std::vector<uint8_t> ChooseKlCov(double fraction, const CovarianceInputs& in) {
  const std::vector<double> covariances = ComputeTokenCovariances(in);
  std::vector<size_t> candidates;
  for (size_t i = 0; i < covariances.size(); ++i)
    if (in.weights_M[i] != 0.0f) candidates.push_back(i);
  return MarkFirst(candidates, HowMany(fraction, in), covariances.size(),
                   [&](size_t a, size_t b) { return covariances[a] > covariances[b]; });
}

}  // namespace candor
