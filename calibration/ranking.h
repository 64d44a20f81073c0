// Does the confidence tell right from wrong, whatever its level? Ranking and selective prediction. Ties are averaged everywhere, so that no
// result depends on the order of rows. Undefined values (one class only, no rows) are NaN.
#pragma once
#include <utility>
#include <vector>

#include "calibration/bins.h"
#include "calibration/rows.h"

namespace candor::calibration {

// Distinct confidences in descending order with their sums: what every function here works on. Weighted sets (a bootstrap replicate, a
// sketch) are levels as well.
struct Level {
  double p = 0.0, n = 0.0, correct = 0.0;
};
std::vector<Level> LevelsOf(const Points& points);
std::vector<Level> LevelsOf(const Bins& bins);  // bins in ascending order of confidence

// (#concordant + #ties / 2) / (#correct * #wrong).
double Auroc(const std::vector<Level>& levels);
double Auroc(const Points& points);
struct AurocBounds {
  double low = 0.0, mid = 0.0, high = 0.0;
};
// What the AUROC can be when each level hides an unknown order.
AurocBounds BoundAuroc(const std::vector<Level>& levels);

// Average precision (steps at distinct confidences, no interpolation): finding the correct ones from the top, or the wrong ones from the
// bottom.
double AuprcSuccess(const Points& points);
double AuprcError(const Points& points);

// Mean over i of the risk among the i most confident; errors of a tie group are spread evenly in it.
double Aurc(const std::vector<Level>& levels);
double Aurc(const Points& points);
// Aurc minus the least possible for this accuracy: exact for n rows, and Geifman's continuous form r + (1 - r) ln(1 - r).
double ExcessAurc(const Points& points);
double ExcessAurcContinuous(const Points& points);
// Area under P(error and accepted) over coverage (Traub et al. 2024): (1 - AUROC) a (1 - a) + (1 - a)^2 / 2 at accuracy a. 0.5 (1 - a)^2 is
// the best possible.
double Augrc(const std::vector<Level>& levels);
double Augrc(const Points& points);

struct RiskCoverage {
  double coverage = 0.0, risk = 0.0, threshold = 0.0;
};
// One working point per distinct confidence: answer when confidence >= threshold.
std::vector<RiskCoverage> RiskCoverageCurve(const Points& points);
// Accuracy among the ceil(coverage * n) most confident, at least one.
double AccuracyAtCoverage(const Points& points, double coverage);
// The largest i / n whose i most confident have risk <= risk; 0 when none has.
double CoverageAtRisk(const Points& points, double risk);

// Spread of the confidences themselves.
struct Sharpness {
  double variance = 0.0;
  double mean_entropy_bits = 0.0;
  double mean_p_one_minus_p = 0.0;
  double share_above_90 = 0.0;    // p >= 0.9
  int distinct_levels = 0;        // after rounding to 0.01: a diagnostic of collapse, never a gate
  double top3_level_share = 0.0;  // share of rows on the three commonest levels; above 0.8 the verbalised number has collapsed
};
Sharpness ComputeSharpness(const Points& points);

}  // namespace candor::calibration
