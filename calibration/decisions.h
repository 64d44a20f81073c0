// Acting on a confidence: utility of answering or staying silent, abstention, selective guarantees, conformal sets.
#pragma once
#include <optional>
#include <vector>

#include "calibration/rows.h"

namespace candor::calibration {

// Explicit confidence target t: +1 for a correct answer, -t / (1 - t) for a wrong one, 0 for silence (Kalai et al., arXiv 2509.04664).
// Answering pays exactly when P(correct) >= t.
struct Utility {
  double penalty = 0.0;
  double own = 0.0;  // answer when the stated confidence >= t
  double always = 0.0;
  double oracle = 0.0;                          // answer exactly the correct ones
  double best = 0.0;                            // the best single threshold in hindsight
  double best_threshold = 0.0;                  // the smallest that reaches it; above 1 means "never answer"
  double coverage = 0.0;                        // of own
  double regret() const { return best - own; }  // what miscalibration costs
};
Utility ComputeUtility(const Points& points, double t);

// An answer whose chance of being right is known.
struct KnownPoint {
  double confidence = 0.0, chance = 0.0;
};
// What acting on the confidence instead of the chance loses at threshold t, in units where a right answer that is given earns 1 - t and a
// wrong one -t (ComputeUtility's, times 1 - t): the mean of |chance - t| over the answers for which "confidence >= t" decides otherwise
// than "chance >= t". Over all t in [0, 1] its mean is half the mean squared distance of confidence and chance.
double DecisionRegret(const std::vector<KnownPoint>& points, double t);
struct RegretOverThresholds {
  double mean = 0.0;   // over t in [0, 1], exactly
  double worst = 0.0;  // over t = .01, .02, ... .99
  double worst_threshold = 0.0;
};
RegretOverThresholds ComputeRegret(const std::vector<KnownPoint>& points);
// Least squares of logit confidence on logit chance, over chances inside (0, 1), confidences held within [.001, .999]; above 1: extremised.
// NaN where the chances do not differ.
double LogitSlope(const std::vector<KnownPoint>& points);

// One row of an abstention benchmark.
struct AbstentionRow {
  bool should_abstain = false, abstained = false, correct = false;
};
struct Abstention {
  double precision = 0.0, recall = 0.0, f1 = 0.0;
  double over = 0.0;       // answerable questions refused
  double under = 0.0;      // unanswerable questions answered
  double direction = 0.0;  // over - under: negative answers too much
  double accuracy_on_answerable = 0.0;
  double appropriate = 0.0;  // silent where it should be, correct where it may answer
  double coverage = 0.0, selective_accuracy = 0.0, hallucination_rate = 0.0;
};
Abstention ComputeAbstention(const std::vector<AbstentionRow>& rows);

// The lowest threshold whose accepted rows have a risk provably <= risk with confidence 1 - delta (Geifman & El-Yaniv 2017: binary search,
// each check a one-sided Clopper-Pearson bound at delta / ceil(log2 n)). nullopt: no threshold can be guaranteed. The rows must be
// independent: one per prompt is taken.
struct SelectiveGuarantee {
  double threshold = 0.0, coverage = 0.0, empirical_risk = 0.0, risk_bound = 0.0;
};
std::optional<SelectiveGuarantee> FindGuarantee(const Points& points, double risk, double delta = 0.05);

// The ceil((n + 1)(1 - alpha))-th smallest nonconformity score; infinity when n is too small for alpha.
double ConformalQuantile(std::vector<double> scores, double alpha);
// (#{calibration scores >= score} + 1) / (n + 1).
double ConformalPValue(const std::vector<double>& calibration_scores, double score);

}  // namespace candor::calibration
