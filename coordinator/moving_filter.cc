#include "coordinator/moving_filter.h"

#include <numeric>

namespace candor {

std::optional<double> ValueStdOf(const GroupScored& header) {
  const auto sum = header.sums.find("reward/value_std");
  if (sum == header.sums.end() || header.traces == 0) return std::nullopt;
  return sum->second / header.traces;
}

std::optional<double> MovingFilter::ThresholdAt(StepId step) const {
  if (!plan_.on || step.value < plan_.from) return std::nullopt;
  const auto next = after_.lower_bound(step);
  if (next == after_.begin()) return std::nullopt;
  return plan_.beta * std::prev(next)->second.value;
}

bool MovingFilter::Keeps(StepId step, const GroupScored& header) const {
  const std::optional<double> threshold = ThresholdAt(step), deviation = ValueStdOf(header);
  return !threshold || !deviation || *deviation >= *threshold;
}

void MovingFilter::Learned(StepId step, const std::vector<double>& stds) {
  if (!plan_.on || step.value < plan_.average_from || stds.empty()) return;
  const double mean = std::accumulate(stds.begin(), stds.end(), 0.0) / static_cast<double>(stds.size());
  Average average = after_.empty() ? Average{} : after_.rbegin()->second;
  const double kept = step.value >= plan_.from && average.steps > 0
                          ? plan_.ema
                          : static_cast<double>(average.steps) / static_cast<double>(average.steps + 1);
  after_[step] = {kept * average.value + (1.0 - kept) * mean, average.steps + 1};
}

void MovingFilter::Undo(StepId from) { after_.erase(after_.lower_bound(from), after_.end()); }

}  // namespace candor
