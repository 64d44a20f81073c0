#include "trainer/advantages.h"

#include <algorithm>
#include <cmath>

namespace candor {

namespace {
constexpr double kStdEpsilon = 1e-6;
}

double Moments::Std() const {
  if (count < 2.0) return 0.0;
  return std::sqrt(std::max(0.0, (sum_squares - sum * sum / count) / (count - 1.0)));
}

std::vector<std::optional<double>> ObjectiveValues(const Objective& objective, const ScoredGroup& group) {
  std::vector<std::optional<double>> values_G;
  for (const ScoredTrace& trace : group.traces_G) {
    bool member = !trace.trace.greedy && trace.label != Label::kUnknown;
    values_G.push_back(member ? objective.channel.Evaluate(trace.channels) : std::nullopt);
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
  }
  for (size_t i = 0; i < values_G.size(); ++i)
    if (values_G[i]) advantages_G[i] = (*values_G[i] - *mean) * factor;
  return advantages_G;
}

}  // namespace candor
