// Repeated measurement: rows are items (prompts), columns are repetitions of one score. How much of what is seen is the item, how much the
// draw?
#pragma once
#include <vector>

namespace candor::calibration {

struct Replicates {
  enum class Flag { kNone, kTooFew, kZeroVariance, kDeterministic, kHeywood };
  Flag flag =
      Flag::kNone;     // kDeterministic: identical columns: consistency, not reliability. kHeywood: a loading reached 1 and was capped.
  double omega = 0.0;  // McDonald's omega of the mean of all columns, on the correlation scale: (sum l)^2 / ((sum l)^2 + sum (1 - l^2))
  double alpha = 0.0;  // Cronbach's alpha
  double icc1 = 0.0;   // reliability of one draw (one-way, single rater)
  double icck = 0.0;   // of the mean of the columns
  std::vector<double> loadings;  // one factor, minimal residuals by iterated principal axes
};
// At least 2 rows and 3 columns of equal length, else NaN with kTooFew.
Replicates ComputeReplicates(const std::vector<std::vector<double>>& scores_IR);
// How many repetitions raise a single-draw reliability to `wanted` (Spearman-Brown).
double RepetitionsFor(double icc1, double wanted);

}  // namespace candor::calibration
