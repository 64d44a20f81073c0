// Recalibration: maps from stated to calibrated confidence, fitted on one set and applied to another (never fit and report on the same
// rows). A handful of prompts supports few parameters: under 200 use the temperature alone, under 1000 no isotonic map.
#pragma once
#include <array>
#include <string>
#include <vector>

#include "calibration/isotonic.h"
#include "calibration/rows.h"
#include "core/result.h"

namespace candor::calibration {

enum class RecalibratorKind { kIdentity, kTemperature, kPlatt, kLogistic, kBeta, kIsotonic };
const char* Name(RecalibratorKind kind);
Result<RecalibratorKind> RecalibratorKindFromName(const std::string& name);

// With x = logit(p clipped at 1e-6):
//   temperature  sigmoid(x / a)                      least mean log score over a in [0.05, 20]
//   platt        1 / (1 + exp(a x + b))              labels smoothed to (N+ + 1) / (N+ + 2) and 1 / (N- + 2), as scikit-learn
//   logistic     sigmoid(a x + b)                    plain maximum likelihood
//   beta         sigmoid(a ln p - b ln(1 - p) + c)   a, b >= 0 (Kull et al. 2017)
//   isotonic     PAV, linear between fitted points
struct Recalibrator {
  RecalibratorKind kind = RecalibratorKind::kIdentity;
  double a = 1.0, b = 0.0, c = 0.0;
  IsotonicFit isotonic;
  double Apply(double p) const;
  Points Apply(Points points) const;
};
// Fails when the set cannot support the map: no rows, or one class only where the likelihood has no maximum.
Result<Recalibrator> FitRecalibrator(RecalibratorKind kind, const Points& points);
// Fitted on the other folds and applied to each (folds by prompt, by hash): recalibrated points that never saw their own labels.
Result<Points> CrossFit(RecalibratorKind kind, const Points& points, int folds = 5);

// Maximum likelihood of y ~ sigmoid(w . x + bias), Newton with step halving. Labels in [0, 1]. A feature that does not vary gets weight 0.
struct LogisticFit {
  std::array<double, 2> weight{};
  double bias = 0.0;
};
LogisticFit FitLogistic(const std::vector<std::array<double, 2>>& features, const std::vector<double>& labels);

}  // namespace candor::calibration
