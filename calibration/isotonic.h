// Isotonic regression by pooling adjacent violators (PAV), and the CORP split of the Brier score that it gives (Dimitriadis, Gneiting &
// Jordan 2021): no bins.
#pragma once
#include <vector>

#include "calibration/rows.h"

namespace candor::calibration {

// The non-decreasing least-squares fit of y on p; ties in p are averaged first. x and y are the distinct confidences and their fitted
// values.
struct IsotonicFit {
  std::vector<double> x, y, weight;
  // Linear between fitted points, constant outside.
  double At(double p) const;
};
IsotonicFit FitIsotonic(const Points& points);
// The fit for ready-made sums: x ascending and distinct, mean y and weight of each.
IsotonicFit FitIsotonic(std::vector<double> x, const std::vector<double>& mean_y, std::vector<double> weight);

// Brier = mcb - dsc + unc. mcb: what recalibration removes after the fact; dsc: what the confidence knows; unc - dsc is the refinement loss
// that only training improves.
struct Corp {
  double mcb = 0.0, dsc = 0.0, unc = 0.0;
};
Corp ComputeCorp(const Points& points);

}  // namespace candor::calibration
