#include "calibration/multiple.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace candor::calibration {

namespace {

// Indices by ascending p; ties in their given order.
std::vector<size_t> AscendingOrder(const std::vector<double>& p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  const auto value = [&](size_t i) { return std::isfinite(p[i]) ? p[i] : 1.0; };
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return value(a) < value(b); });
  return order;
}

}  // namespace

std::vector<double> HolmAdjusted(const std::vector<double>& p) {
  std::vector<double> adjusted(p.size(), 1.0);
  double most = 0.0;
  const std::vector<size_t> order = AscendingOrder(p);
  for (size_t k = 0; k < order.size(); ++k) {
    const double own = std::isfinite(p[order[k]]) ? p[order[k]] : 1.0;
    most = std::max(most, std::min(1.0, static_cast<double>(order.size() - k) * own));
    adjusted[order[k]] = most;
  }
  return adjusted;
}

std::vector<double> HolmLevels(const std::vector<double>& p, double level) {
  std::vector<double> levels(p.size(), level);
  const std::vector<size_t> order = AscendingOrder(p);
  for (size_t k = 0; k < order.size(); ++k) levels[order[k]] = 1.0 - (1.0 - level) / static_cast<double>(order.size() - k);
  return levels;
}

double BootstrapPValue(const std::vector<double>& deltas) {
  double below = 1.0, above = 1.0, known = 1.0;
  for (const double delta : deltas) below += delta <= 0.0, above += delta >= 0.0, known += std::isfinite(delta);
  return std::min(1.0, 2.0 * std::min(below, above) / known);
}

}  // namespace candor::calibration
