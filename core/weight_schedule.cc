#include "core/weight_schedule.h"

#include <algorithm>

namespace candor {

namespace {
constexpr double kStdMin = 1e-6;  // below it a channel does not vary
}

double WeightSchedule::At(int64_t steps_done, double own_std, double accuracy_std) const {
  switch (kind) {
    case WeightKind::kConstant:
      return from;
    case WeightKind::kRamp: {
      const double share = static_cast<double>(std::max<int64_t>(steps_done, 0)) / static_cast<double>(std::max<int64_t>(over, 1));
      return share >= 1.0 ? to : from + (to - from) * share;
    }
    case WeightKind::kMatchStd:
      return own_std >= kStdMin ? std::min(most, from * accuracy_std / own_std) : most;
  }
  return from;
}

double WeightSchedule::LeastAt(int64_t steps_done) const { return kind == WeightKind::kMatchStd ? 0.0 : At(steps_done); }
double WeightSchedule::MostAt(int64_t steps_done) const { return kind == WeightKind::kMatchStd ? most : At(steps_done); }

}  // namespace candor
