// Tests of "is this confidence calibrated?" without bins, and detectors of confidently wrong slices.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "calibration/bins.h"
#include "calibration/rows.h"

namespace candor::calibration {

// Range of the cumulative residuals sorted by confidence; over sigma it follows a Brownian motion's range when the model is calibrated
// (Arrieta-Ibarra et al. 2022).
struct Ecce {
  double value = 0.0;
  double in_sigmas = 0.0;
  double p_value = 1.0;
};
Ecce ComputeEcce(const Points& points);
// At the resolution of ascending bins (a sketch's cells).
Ecce ComputeEcce(const Bins& bins);

struct Spiegelhalter {
  double z = 0.0;
  double p_value = 1.0;  // two-sided
};
Spiegelhalter ComputeSpiegelhalter(const Points& points);

// P(at least k successes) among independent trials: exact (n k steps), above 1e8 steps a normal approximation with continuity correction.
// With rare successes that would make a small set of them look significant: of 5000 trials at 0.001, 12 have 0.0055, not 0.0018.
double PoissonBinomialTail(const std::vector<double>& probabilities, int k);

// Confident-wrong tail: how many rows with p >= tau are wrong, against what calibration allows. Takes one row per prompt (labels of one
// prompt are not independent).
struct ConfidentWrong {
  int confident = 0;  // rows with p >= tau
  int wrong = 0;
  double expected = 0.0;  // sum of 1 - p
  double p_value = 1.0;
};
ConfidentWrong CountConfidentWrong(const Points& points, double tau = 0.9);

// Benjamini-Hochberg adjusted p-values, in the order given.
std::vector<double> AdjustBenjaminiHochberg(const std::vector<double>& p_values);

}  // namespace candor::calibration
