// Temperature, Platt, logistic, beta and isotonic maps.
#include "calibration/recalibration.h"

#include <algorithm>
#include <cmath>
#include <unordered_map>

#include "calibration/scoring_rules.h"
#include "core/logistic.h"
#include "core/rng.h"

namespace candor::calibration {
namespace {

double Logit(double p) {
  const double q = std::clamp(p, kLogClip, 1.0 - kLogClip);
  return std::log(q) - std::log1p(-q);
}
std::array<double, 2> BetaFeatures(double p) {
  const double q = std::clamp(p, kLogClip, 1.0 - kLogClip);
  return {std::log(q), -std::log1p(-q)};
}

// Solves the symmetric 3x3 system by elimination with pivoting; unused rows are identity.
std::array<double, 3> Solve(std::array<std::array<double, 3>, 3> m, std::array<double, 3> v) {
  for (int k = 0; k < 3; ++k) {
    int pivot = k;
    for (int r = k + 1; r < 3; ++r)
      if (std::abs(m[r][k]) > std::abs(m[pivot][k])) pivot = r;
    std::swap(m[k], m[pivot]);
    std::swap(v[k], v[pivot]);
    for (int r = k + 1; r < 3; ++r) {
      const double factor = m[r][k] / m[k][k];
      for (int c = k; c < 3; ++c) m[r][c] -= factor * m[k][c];
      v[r] -= factor * v[k];
    }
  }
  for (int k = 2; k >= 0; --k) {
    for (int c = k + 1; c < 3; ++c) v[k] -= m[k][c] * v[c];
    v[k] /= m[k][k];
  }
  return v;
}

using Parameters = std::array<double, 3>;  // weight, weight, bias

double NegativeLogLikelihood(const std::vector<std::array<double, 2>>& features, const std::vector<double>& labels,
                             const Parameters& theta) {
  double sum = 0.0;
  for (size_t i = 0; i < labels.size(); ++i) {
    const double z = theta[0] * features[i][0] + theta[1] * features[i][1] + theta[2];
    sum += SoftPlus(z) - labels[i] * z;
  }
  return sum;
}

Recalibrator FitTemperature(const Points& points) {
  // The log score is convex in the inverse temperature: bisect its derivative.
  double low = 1.0 / 20.0, high = 1.0 / 0.05;
  for (int i = 0; i < 100; ++i) {
    const double mid = 0.5 * (low + high);
    double slope = 0.0;
    for (const Point& point : points) {
      const double x = Logit(point.p);
      slope += (Sigmoid(mid * x) - point.y) * x;
    }
    (slope < 0.0 ? low : high) = mid;
  }
  return {RecalibratorKind::kTemperature, 2.0 / (low + high), 0.0, 0.0, {}};
}

Recalibrator FitOnLogit(RecalibratorKind kind, const Points& points) {
  std::vector<std::array<double, 2>> features;
  std::vector<double> labels;
  double positives = 0.0;
  for (const Point& point : points) positives += point.y;
  const double negatives = static_cast<double>(points.size()) - positives;
  const double high = (positives + 1.0) / (positives + 2.0), low = 1.0 / (negatives + 2.0);
  for (const Point& point : points) {
    features.push_back({Logit(point.p), 0.0});
    labels.push_back(kind == RecalibratorKind::kPlatt ? point.y * high + (1.0 - point.y) * low : point.y);
  }
  const LogisticFit fit = FitLogistic(features, labels);
  if (kind == RecalibratorKind::kPlatt) return {kind, -fit.weight[0], -fit.bias, 0.0, {}};
  return {kind, fit.weight[0], fit.bias, 0.0, {}};
}

Recalibrator FitBeta(const Points& points) {
  std::vector<std::array<double, 2>> features;
  std::vector<double> labels;
  for (const Point& point : points) features.push_back(BetaFeatures(point.p)), labels.push_back(point.y);
  LogisticFit fit = FitLogistic(features, labels);
  for (int dropped = 0; dropped < 2; ++dropped) {  // a negative weight would make the map fall: fit again without that feature
    if (fit.weight[dropped] >= 0.0) continue;
    auto single = features;
    for (auto& x : single) x = {x[1 - dropped], 0.0};
    const LogisticFit refit = FitLogistic(single, labels);
    fit = {};
    fit.weight[1 - dropped] = std::max(refit.weight[0], 0.0);
    fit.bias = refit.bias;
    break;
  }
  return {RecalibratorKind::kBeta, fit.weight[0], fit.weight[1], fit.bias, {}};
}

}  // namespace

const char* Name(RecalibratorKind kind) {
  switch (kind) {
    case RecalibratorKind::kIdentity:
      return "identity";
    case RecalibratorKind::kTemperature:
      return "temperature";
    case RecalibratorKind::kPlatt:
      return "platt";
    case RecalibratorKind::kLogistic:
      return "logistic";
    case RecalibratorKind::kBeta:
      return "beta";
    case RecalibratorKind::kIsotonic:
      return "isotonic";
  }
  return "identity";
}

Result<RecalibratorKind> RecalibratorKindFromName(const std::string& name) {
  for (auto kind : {RecalibratorKind::kIdentity, RecalibratorKind::kTemperature, RecalibratorKind::kPlatt, RecalibratorKind::kLogistic,
                    RecalibratorKind::kBeta, RecalibratorKind::kIsotonic})
    if (name == Name(kind)) return kind;
  return Fail(ErrorCode::kInvalidInput, "no recalibration is called \"" + name + "\"", "",
              "one of identity, temperature, platt, logistic, beta, isotonic");
}

LogisticFit FitLogistic(const std::vector<std::array<double, 2>>& features, const std::vector<double>& labels) {
  // The ridge keeps the system solvable when features nearly coincide; it moves a well-posed answer by less than 1e-8.
  constexpr double kRidge = 1e-9;
  bool varies[2] = {};
  for (const auto& x : features)
    for (int r = 0; r < 2; ++r) varies[r] = varies[r] || x[r] != features.front()[r];
  Parameters theta{};
  double loss = NegativeLogLikelihood(features, labels, theta);
  for (int iteration = 0; iteration < 100; ++iteration) {
    Parameters gradient{};
    std::array<std::array<double, 3>, 3> hessian{};
    for (size_t i = 0; i < labels.size(); ++i) {
      const Parameters x = {features[i][0], features[i][1], 1.0};
      const double q = Sigmoid(theta[0] * x[0] + theta[1] * x[1] + theta[2]);
      for (int r = 0; r < 3; ++r) {
        gradient[r] += (q - labels[i]) * x[r];
        for (int c = 0; c < 3; ++c) hessian[r][c] += q * (1.0 - q) * x[r] * x[c];
      }
    }
    for (int r = 0; r < 3; ++r) hessian[r][r] += kRidge;
    for (int r = 0; r < 2; ++r) {
      if (varies[r]) continue;
      gradient[r] = 0.0;
      for (int c = 0; c < 3; ++c) hessian[r][c] = hessian[c][r] = r == c ? 1.0 : 0.0;
    }
    const Parameters step = Solve(hessian, gradient);
    double scale = 1.0, improved = loss;
    Parameters next = theta;
    for (int halving = 0; halving < 40; ++halving, scale /= 2.0) {
      for (int r = 0; r < 3; ++r) next[r] = theta[r] - scale * step[r];
      improved = NegativeLogLikelihood(features, labels, next);
      if (improved <= loss) break;
    }
    if (!(improved <= loss)) break;
    const double gain = loss - improved;
    theta = next;
    loss = improved;
    if (gain < 1e-14 * (1.0 + loss)) break;
  }
  return {{theta[0], theta[1]}, theta[2]};
}

double Recalibrator::Apply(double p) const {
  switch (kind) {
    case RecalibratorKind::kIdentity:
      return p;
    case RecalibratorKind::kTemperature:
      return Sigmoid(Logit(p) / a);
    case RecalibratorKind::kPlatt:
      return Sigmoid(-(a * Logit(p) + b));
    case RecalibratorKind::kLogistic:
      return Sigmoid(a * Logit(p) + b);
    case RecalibratorKind::kBeta:
      return Sigmoid(a * BetaFeatures(p)[0] + b * BetaFeatures(p)[1] + c);
    case RecalibratorKind::kIsotonic:
      return std::clamp(isotonic.At(p), 0.0, 1.0);
  }
  return p;
}

Points Recalibrator::Apply(Points points) const {
  for (Point& point : points) point.p = Apply(point.p);
  return points;
}

Result<Recalibrator> FitRecalibrator(RecalibratorKind kind, const Points& points) {
  if (points.empty())
    return Fail(ErrorCode::kInvalidInput, "there are no rows to fit a recalibration on", Name(kind), "give rows with a confidence");
  const bool all_right = std::all_of(points.begin(), points.end(), [](const Point& x) { return x.y == 1.0; });
  const bool all_wrong = std::all_of(points.begin(), points.end(), [](const Point& x) { return x.y == 0.0; });
  if ((all_right || all_wrong) && (kind == RecalibratorKind::kLogistic || kind == RecalibratorKind::kBeta))
    return Fail(ErrorCode::kInvalidInput, std::string("all rows are ") + (all_right ? "correct" : "wrong") + ": the fit has no maximum",
                Name(kind), "use platt, which smooths the labels, or give rows of both kinds");
  switch (kind) {
    case RecalibratorKind::kIdentity:
      return Recalibrator{};
    case RecalibratorKind::kTemperature:
      return FitTemperature(points);
    case RecalibratorKind::kPlatt:
    case RecalibratorKind::kLogistic:
      return FitOnLogit(kind, points);
    case RecalibratorKind::kBeta:
      return FitBeta(points);
    case RecalibratorKind::kIsotonic:
      return Recalibrator{kind, 1.0, 0.0, 0.0, FitIsotonic(points)};
  }
  return Recalibrator{};
}

Result<Points> CrossFit(RecalibratorKind kind, const Points& points, int folds) {
  if (folds < 2) return Fail(ErrorCode::kInvalidInput, "cross-fitting needs at least 2 folds, not " + std::to_string(folds));
  const auto fold_of = [&](const Point& point) { return static_cast<int>(RandomBits(0, RngStream::kSplit, point.cluster) % folds); };
  Points result = points;
  for (int fold = 0; fold < folds; ++fold) {
    Points training;
    for (const Point& point : points)
      if (fold_of(point) != fold) training.push_back(point);
    CANDOR_ASSIGN(const Recalibrator map, FitRecalibrator(kind, training));
    for (Point& point : result)
      if (fold_of(point) == fold) point.p = map.Apply(point.p);
  }
  return result;
}

}  // namespace candor::calibration
