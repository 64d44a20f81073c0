// How an objective's weight moves over a run: w(t), with t the number of steps done before (0 at the first step).
//
//   constant   w(t) = from
//   ramp       w(t) = from + (to - from) * min(1, t / over): from at t = 0, half way at t = over / 2, to from t = over on
//   match_std  w(t) = min(most, from * S_accuracy / S), S the standard deviation (n - 1) of the objective's values over the step's kept
//              groups, each value less its group's mean, and S_accuracy that of the channel accuracy over the same groups: after weighting,
//              the objective deviates `from` times as much as accuracy does. Where S is below 1e-6 there is nothing to scale: most.
//
// A function of the step and of what the step measured, without memory: a resumed run has the same weights. Pure, any thread.
#pragma once
#include <cstdint>

namespace candor {

enum class WeightKind : uint8_t { kConstant = 0, kRamp = 1, kMatchStd = 2 };

struct WeightSchedule {
  WeightKind kind = WeightKind::kConstant;
  double from = 1.0;  // match_std: the factor
  double to = 1.0;    // ramp
  int64_t over = 1;   // ramp: steps, at least 1
  double most = 1.0;  // match_std

  // `own_std` and `accuracy_std` are read by match_std alone.
  double At(int64_t steps_done, double own_std = 0.0, double accuracy_std = 0.0) const;
  // What At may return at this step, whatever is measured.
  double LeastAt(int64_t steps_done) const;
  double MostAt(int64_t steps_done) const;
};

}  // namespace candor
