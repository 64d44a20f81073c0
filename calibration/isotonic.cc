// PAV on a stack of blocks, O(n log n) with the sort.
#include "calibration/isotonic.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "calibration/bins.h"

namespace candor::calibration {

double IsotonicFit::At(double p) const {
  if (x.empty()) return std::numeric_limits<double>::quiet_NaN();
  if (p <= x.front()) return y.front();
  if (p >= x.back()) return y.back();
  const size_t right = std::upper_bound(x.begin(), x.end(), p) - x.begin();
  const double share = (p - x[right - 1]) / (x[right] - x[right - 1]);
  return y[right - 1] + share * (y[right] - y[right - 1]);
}

IsotonicFit FitIsotonic(std::vector<double> x, const std::vector<double>& mean_y, std::vector<double> weight) {
  struct Block {
    double sum, weight;
    size_t count;
    double mean() const { return sum / weight; }
  };
  std::vector<Block> blocks;
  for (size_t i = 0; i < x.size(); ++i) {
    blocks.push_back({mean_y[i] * weight[i], weight[i], 1});
    while (blocks.size() > 1 && blocks[blocks.size() - 2].mean() >= blocks.back().mean()) {
      const Block last = blocks.back();
      blocks.pop_back();
      blocks.back() = {blocks.back().sum + last.sum, blocks.back().weight + last.weight, blocks.back().count + last.count};
    }
  }
  IsotonicFit fit{std::move(x), {}, std::move(weight)};
  for (const Block& block : blocks) fit.y.insert(fit.y.end(), block.count, block.mean());
  return fit;
}

IsotonicFit FitIsotonic(const Points& points) {
  std::vector<double> x, y, weight;
  for (const Point& point : points) x.push_back(point.p);
  std::sort(x.begin(), x.end());
  x.erase(std::unique(x.begin(), x.end()), x.end());  // the confidences themselves: a bin's mean may differ from them in the last bit
  for (const Bin& bin : DiscreteBins(points)) {
    y.push_back(bin.mean_y());
    weight.push_back(bin.n);
  }
  return FitIsotonic(std::move(x), y, std::move(weight));
}

Corp ComputeCorp(const Points& points) {
  const double n = static_cast<double>(points.size());
  if (points.empty())
    return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  const IsotonicFit fit = FitIsotonic(points);
  double base = 0.0, brier = 0.0, brier_fit = 0.0, brier_base = 0.0;
  for (const Point& point : points) base += point.y / n;
  for (const Point& point : points) {
    const double fitted = fit.At(point.p);
    brier += (point.p - point.y) * (point.p - point.y) / n;
    brier_fit += (fitted - point.y) * (fitted - point.y) / n;
    brier_base += (base - point.y) * (base - point.y) / n;
  }
  return {brier - brier_fit, brier_base - brier_fit, brier_base};
}

}  // namespace candor::calibration
