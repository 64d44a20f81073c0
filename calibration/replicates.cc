// One-factor model of repeated scores.
#include "calibration/replicates.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "calibration/undefined.h"

namespace candor::calibration {
namespace {

using Matrix = std::vector<std::vector<double>>;

// Covariance of the columns, n - 1 in the denominator.
Matrix Covariance(const Matrix& scores_IR) {
  const size_t n = scores_IR.size(), r = scores_IR[0].size();
  std::vector<double> mean(r, 0.0);
  for (const auto& row : scores_IR)
    for (size_t j = 0; j < r; ++j) mean[j] += row[j] / static_cast<double>(n);
  Matrix covariance(r, std::vector<double>(r, 0.0));
  for (const auto& row : scores_IR)
    for (size_t j = 0; j < r; ++j)
      for (size_t k = 0; k < r; ++k) covariance[j][k] += (row[j] - mean[j]) * (row[k] - mean[k]) / static_cast<double>(n - 1);
  return covariance;
}

// The leading eigenvector times the root of its eigenvalue, by power iteration of the matrix shifted to be positive.
std::vector<double> LeadingLoadings(const Matrix& matrix) {
  const size_t r = matrix.size();
  std::vector<double> v(r, 1.0 / std::sqrt(static_cast<double>(r)));
  double eigenvalue = 0.0;
  for (int iteration = 0; iteration < 1000; ++iteration) {
    std::vector<double> next(r, 0.0);
    for (size_t j = 0; j < r; ++j) {
      next[j] = v[j];  // shift by 1
      for (size_t k = 0; k < r; ++k) next[j] += matrix[j][k] * v[k];
    }
    const double norm = std::sqrt(std::inner_product(next.begin(), next.end(), next.begin(), 0.0));
    double change = 0.0;
    for (size_t j = 0; j < r; ++j) {
      next[j] /= norm;
      change = std::max(change, std::abs(next[j] - v[j]));
    }
    v = next;
    eigenvalue = norm - 1.0;
    if (change < 1e-14) break;
  }
  for (double& x : v) x *= std::sqrt(std::max(eigenvalue, 0.0));
  return v;
}

void FitOneFactor(const Matrix& covariance, Replicates* result) {
  const size_t r = covariance.size();
  Matrix reduced(r, std::vector<double>(r));
  for (size_t j = 0; j < r; ++j)
    for (size_t k = 0; k < r; ++k) reduced[j][k] = covariance[j][k] / std::sqrt(covariance[j][j] * covariance[k][k]);
  for (size_t j = 0; j < r; ++j) {  // start: the largest correlation
    double most = 0.0;
    for (size_t k = 0; k < r; ++k)
      if (k != j) most = std::max(most, std::abs(reduced[j][k]));
    reduced[j][j] = most;
  }
  for (int iteration = 0; iteration < 5000; ++iteration) {
    result->loadings = LeadingLoadings(reduced);
    double change = 0.0;
    result->flag = Replicates::Flag::kNone;
    for (size_t j = 0; j < r; ++j) {
      const double communality = result->loadings[j] * result->loadings[j];
      if (communality > 1.0) result->flag = Replicates::Flag::kHeywood;
      change = std::max(change, std::abs(std::min(communality, 1.0) - reduced[j][j]));
      reduced[j][j] = std::min(communality, 1.0);
    }
    if (change < 1e-12) break;
  }
  double sum = 0.0, unique = 0.0;
  for (double& loading : result->loadings) {
    loading = std::clamp(loading, -1.0, 1.0);
    sum += loading;
    unique += 1.0 - loading * loading;
  }
  result->omega = sum * sum / (sum * sum + unique);
}

void FitVarianceComponents(const Matrix& scores_IR, Replicates* result) {
  const double n = static_cast<double>(scores_IR.size()), r = static_cast<double>(scores_IR[0].size());
  double grand = 0.0, between = 0.0, within = 0.0;
  for (const auto& row : scores_IR) grand += std::accumulate(row.begin(), row.end(), 0.0) / (n * r);
  for (const auto& row : scores_IR) {
    const double mean = std::accumulate(row.begin(), row.end(), 0.0) / r;
    between += r * (mean - grand) * (mean - grand) / (n - 1.0);
    for (double x : row) within += (x - mean) * (x - mean) / (n * (r - 1.0));
  }
  result->icc1 = (between - within) / (between + (r - 1.0) * within);
  result->icck = (between - within) / between;
}

}  // namespace

Replicates ComputeReplicates(const std::vector<std::vector<double>>& scores_IR) {
  Replicates result{Replicates::Flag::kTooFew, kNaN, kNaN, kNaN, kNaN, {}};
  const size_t r = scores_IR.empty() ? 0 : scores_IR[0].size();
  if (scores_IR.size() < 2 || r < 3 || std::any_of(scores_IR.begin(), scores_IR.end(), [&](const auto& row) { return row.size() != r; }))
    return result;
  const Matrix covariance = Covariance(scores_IR);
  double trace = 0.0, total = 0.0;
  bool has_constant_column = false;
  for (size_t j = 0; j < r; ++j) {
    trace += covariance[j][j];
    has_constant_column = has_constant_column || !(covariance[j][j] > 0.0);
    for (size_t k = 0; k < r; ++k) total += covariance[j][k];
  }
  result.flag = Replicates::Flag::kZeroVariance;
  if (has_constant_column || !(total > 0.0)) return result;
  const double columns = static_cast<double>(r);
  result.alpha = columns / (columns - 1.0) * (1.0 - trace / total);
  FitVarianceComponents(scores_IR, &result);
  const bool is_deterministic = std::all_of(scores_IR.begin(), scores_IR.end(), [](const auto& row) {
    return std::all_of(row.begin(), row.end(), [&](double x) { return x == row[0]; });
  });
  if (is_deterministic) {
    result.flag = Replicates::Flag::kDeterministic;
    result.omega = 1.0;
    result.loadings.assign(r, 1.0);
    return result;
  }
  FitOneFactor(covariance, &result);
  return result;
}

double RepetitionsFor(double icc1, double wanted) {
  if (!(0.0 < icc1 && icc1 < 1.0 && 0.0 < wanted && wanted < 1.0)) return kNaN;
  return wanted * (1.0 - icc1) / (icc1 * (1.0 - wanted));
}

}  // namespace candor::calibration
