// Scoring rules of one (confidence, label) pair. A label y in [0, 1] is 1 for correct, 0 for wrong, between for partial credit.
// All are strictly proper: in expectation the best confidence is the true probability. Brier and log are losses (lower is better),
// spherical is a gain.
#pragma once
#include <algorithm>
#include <cmath>

namespace candor::calibration {

// Log scores clip the confidence to [kLogClip, 1 - kLogClip]; without a clip one certain mistake is infinite.
inline constexpr double kLogClip = 1e-6;

// (p - y)^2, in [0, 1].
inline double BrierScore(double p, double y) { return (p - y) * (p - y); }

// -y ln p - (1 - y) ln(1 - p) in nats, p clipped.
inline double LogScore(double p, double y, double clip = kLogClip) {
  const double q = std::clamp(p, clip, 1.0 - clip);
  return -y * std::log(q) - (1.0 - y) * std::log1p(-q);
}

// The probability of what happened over the Euclidean length of (p, 1 - p), in [0, 1].
inline double SphericalScore(double p, double y) { return (y * p + (1.0 - y) * (1.0 - p)) / std::hypot(p, 1.0 - p); }

// True when the clip changed a log score that matters: the confidence is at the clip and the label says otherwise. Such rows dominate the
// mean log score.
inline bool IsClippedMistake(double p, double y, double clip = kLogClip) { return (p <= clip && y > 0.5) || (p >= 1.0 - clip && y < 0.5); }

// RLCR's composite reward, y - (p - y)^2 in [-1, 1] (Damani et al., arXiv 2507.16806).
inline double RlcrReward(double p, double y) { return y - BrierScore(p, y); }

}  // namespace candor::calibration
