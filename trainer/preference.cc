#include "trainer/preference.h"

#include <cmath>

#include "core/check.h"
#include "core/logistic.h"

namespace candor {

namespace {

double Gain(std::span<const float> log_probs, std::span<const float> reference) {
  CANDOR_CHECK(log_probs.size() == reference.size(), "arrays of one length");
  double gain = 0.0;
  for (size_t i = 0; i < log_probs.size(); ++i) gain += static_cast<double>(log_probs[i]) - static_cast<double>(reference[i]);
  return gain;
}

}  // namespace

PreferenceOutputs ComputePreference(double beta, std::span<const float> chosen_C, std::span<const float> chosen_reference_C,
                                    std::span<const float> rejected_R, std::span<const float> rejected_reference_R) {
  PreferenceOutputs out;
  out.margin = beta * (Gain(chosen_C, chosen_reference_C) - Gain(rejected_R, rejected_reference_R));
  out.loss = SoftPlus(-out.margin);
  out.slope = -beta / (1.0 + std::exp(out.margin));
  return out;
}

std::optional<std::pair<size_t, size_t>> ChoosePair(std::span<const std::optional<double>> values_G) {
  std::optional<size_t> best, worst;
  for (size_t i = 0; i < values_G.size(); ++i) {
    if (!values_G[i]) continue;
    if (!best || *values_G[i] > *values_G[*best]) best = i;
    if (!worst || *values_G[i] < *values_G[*worst]) worst = i;
  }
  if (!best || *values_G[*best] == *values_G[*worst]) return std::nullopt;
  return std::pair(*best, *worst);
}

}  // namespace candor
