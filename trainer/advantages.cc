#include "trainer/advantages.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "core/check.h"

namespace candor {

namespace {
constexpr double kStdEpsilon = 1e-6;

// A row without stored scores has no baseline, so that its traces have no value.
void SubtractStoredBaseline(const ScoredTrace& trace, std::optional<double>& value) {
  const auto baseline = trace.channels.find("baseline");
  if (value && baseline != trace.channels.end())
    *value -= baseline->second;
  else
    value.reset();
}

}  // namespace

double Moments::Std() const {
  if (count < 2.0) return 0.0;
  return std::sqrt(std::max(0.0, (sum_squares - sum * sum / count) / (count - 1.0)));
}

std::vector<std::optional<double>> ObjectiveValues(const Objective& objective, const ScoredGroup& group) {
  std::vector<std::optional<double>> values_G;
  for (const ScoredTrace& trace : group.traces_G) {
    const bool member = !trace.trace.greedy && (trace.label != Label::kUnknown || !objective.needs_label);
    values_G.push_back(member ? objective.channel.Evaluate(trace.channels) : std::nullopt);
    if (objective.advantage == AdvantageKind::kContrastiveBaseline && objective.IsPolicyGradient())
      SubtractStoredBaseline(trace, values_G.back());
  }
  return values_G;
}

std::optional<double> GroupMean(std::span<const std::optional<double>> values_G) {
  double sum = 0.0, count = 0.0;
  for (const std::optional<double>& value : values_G)
    if (value) sum += *value, count += 1.0;
  if (count == 0.0) return std::nullopt;
  return sum / count;
}

void AddCentred(std::span<const std::optional<double>> values_G, Moments& moments) {
  std::optional<double> mean = GroupMean(values_G);
  for (const std::optional<double>& value : values_G)
    if (value) moments.Add(*value - *mean);
}

std::vector<double> ComputeAdvantages(AdvantageKind kind, std::span<const std::optional<double>> values_G, double batch_std) {
  std::vector<double> advantages_G(values_G.size(), 0.0);
  std::optional<double> mean = GroupMean(values_G);
  if (!mean) return advantages_G;
  Moments centred;
  AddCentred(values_G, centred);
  double n = centred.count, factor = 1.0;
  switch (kind) {
    case AdvantageKind::kNone:
    case AdvantageKind::kContrastiveBaseline:  // already subtracted
      *mean = 0.0;
      break;
    case AdvantageKind::kGroupMean:
      break;
    case AdvantageKind::kLeaveOneOut:
      factor = n > 1.0 ? n / (n - 1.0) : 0.0;
      break;
    case AdvantageKind::kGroupStd:
      factor = 1.0 / (centred.Std() + kStdEpsilon);
      break;
    case AdvantageKind::kBatchStd:
      factor = 1.0 / (batch_std + kStdEpsilon);
      break;
    case AdvantageKind::kPassAtK:
    case AdvantageKind::kPositiveOnly:
    case AdvantageKind::kNegativeOnly:
    case AdvantageKind::kWeightedReinforce:
      CANDOR_CHECK(false, "this kind needs its objective");
  }
  for (size_t i = 0; i < values_G.size(); ++i)
    if (values_G[i]) advantages_G[i] = (*values_G[i] - *mean) * factor;
  return advantages_G;
}

std::vector<double> DiscrepancyFactors(const Objective& objective, const ScoredGroup& group) {
  std::vector<double> factors_G(group.traces_G.size(), 1.0);
  if (objective.kappa == 0.0) return factors_G;
  std::vector<std::optional<double>> distances_G;
  for (const ScoredTrace& trace : group.traces_G) {
    distances_G.emplace_back();
    if (!trace.trace.greedy && trace.label != Label::kUnknown && trace.confidence)
      distances_G.back() = std::abs((trace.label == Label::kCorrect ? 1.0 : 0.0) - trace.confidence->value());
  }
  const std::optional<double> mean = GroupMean(distances_G);
  const DiscrepancyWeights& w = objective.discrepancy;
  for (size_t i = 0; i < factors_G.size(); ++i)
    if (distances_G[i]) factors_G[i] = std::clamp(1.0 + objective.kappa * (*distances_G[i] - *mean), w.low, w.high);
  return factors_G;
}

double PassAtK(double n, double c, double k) {
  CANDOR_CHECK(0.0 <= c && c <= n && k <= n, "c of n, k of n");
  double none = 1.0;  // C(n-c, k) / C(n, k), factor by factor
  for (double i = 0.0; i < k; i += 1.0) none *= std::max(0.0, n - c - i) / (n - i);
  return 1.0 - none;
}

namespace {

// Advantages of right and of wrong traces.
std::pair<double, double> PassAtKAdvantages(double n, double c, double k) {
  if (k > n || n == 0.0) return {0.0, 0.0};
  const double rho = PassAtK(n, c, k), scale = std::sqrt(rho * (1.0 - rho)) + kStdEpsilon;
  // A wrong trace fails with k-1 others of the n-1 that remain, c of them right.
  const double fails = c < n ? 1.0 - PassAtK(n - 1.0, c, k - 1.0) : 0.0;
  return {(1.0 - rho) / scale, (1.0 - rho - fails) / scale};
}

}  // namespace

std::vector<std::optional<double>> ComputeAdvantages(const Objective& objective, std::span<const std::optional<double>> values_G,
                                                     double batch_std) {
  std::vector<std::optional<double>> advantages_G(values_G.size());
  double n = 0.0, c = 0.0;
  for (const std::optional<double>& value : values_G)
    if (value) n += 1.0, c += *value > 0.0 ? 1.0 : 0.0;
  std::optional<double> right, wrong;
  switch (objective.advantage) {
    case AdvantageKind::kPassAtK:
      std::tie(right, wrong) = PassAtKAdvantages(n, c, static_cast<double>(objective.pass_k));
      break;
    case AdvantageKind::kPositiveOnly:
      right = 1.0;
      break;
    case AdvantageKind::kNegativeOnly:
      wrong = -1.0;
      break;
    case AdvantageKind::kWeightedReinforce:
      right = objective.positive_weight, wrong = -1.0;
      break;
    default: {
      const std::vector<double> plain_G = ComputeAdvantages(objective.advantage, values_G, batch_std);
      for (size_t i = 0; i < values_G.size(); ++i)
        if (values_G[i]) advantages_G[i] = plain_G[i];
      return advantages_G;
    }
  }
  for (size_t i = 0; i < values_G.size(); ++i)
    if (values_G[i]) advantages_G[i] = *values_G[i] > 0.0 ? right : wrong;
  return advantages_G;
}

}  // namespace candor
