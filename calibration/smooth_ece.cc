// Residual and weight mass on a grid, convolution at the mesh points only, bisection for the width.
#include "calibration/smooth_ece.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <vector>

namespace candor::calibration {
namespace {

struct Mass {
  double p, residual, weight;
};

constexpr double kDensityFloor = 1e-4;
constexpr double kKernelRadius = 9.0;  // in sigmas: beyond it the kernel is under 3e-18

// Mass split linearly between the two nearest grid points.
struct Grid {
  std::vector<double> residual_E, weight_E;
  Grid(const std::vector<Mass>& masses, int size) : residual_E(size, 0.0), weight_E(size, 0.0) {
    for (const Mass& mass : masses) {
      const double at = mass.p * (size - 1);
      const int left = std::clamp(static_cast<int>(at), 0, size - 2);
      const double right_share = at - left;
      residual_E[left] += (1.0 - right_share) * mass.residual;
      residual_E[left + 1] += right_share * mass.residual;
      weight_E[left] += (1.0 - right_share) * mass.weight;
      weight_E[left + 1] += right_share * mass.weight;
    }
  }
};

class Smoother {
 public:
  Smoother(const Grid& grid, double sigma) : size_(static_cast<int>(grid.weight_E.size())), kernel_E_(size_) {
    for (int i = 0; i < size_; ++i) {
      const double t = static_cast<double>(i) / (size_ - 1) - 0.5;
      kernel_E_[i] = std::exp(-t * t / (2.0 * sigma * sigma)) / (std::sqrt(2.0 * std::numbers::pi) * sigma);
    }
    const int reach = static_cast<int>(std::ceil(kKernelRadius * sigma * (size_ - 1)));
    first_ = std::max(0, size_ / 2 - reach);
    last_ = std::min(size_ - 1, size_ / 2 + reach);
    for (int place = size_ - 1 + size_ / 2; place >= -(size_ / 2); --place) {
      const int source = place < 0 ? -place : place >= size_ ? 2 * (size_ - 1) - place : place;
      if (grid.weight_E[source] != 0.0 || grid.residual_E[source] != 0.0)
        filled_.push_back({place, grid.residual_E[source], grid.weight_E[source]});
    }
  }

  // Smoothed (residual, weight) at grid point i; the data are mirrored at 0 and 1 (the edge itself not repeated).
  void At(int i, double* residual, double* weight) const {
    *residual = *weight = 0.0;
    const int right = i + size_ / 2 - first_, left = i + size_ / 2 - last_;
    auto at = std::partition_point(filled_.begin(), filled_.end(), [right](const Filled& point) { return point.place > right; });
    for (; at != filled_.end() && at->place >= left; ++at) {
      const double kernel = kernel_E_[i + size_ / 2 - at->place];
      *residual += kernel * at->residual;
      *weight += kernel * at->weight;
    }
  }

 private:
  struct Filled {
    int place;  // on the grid that goes on, mirrored, on both sides
    double residual, weight;
  };
  int size_;
  std::vector<double> kernel_E_;
  std::vector<Filled> filled_;  // the points that hold anything, from the right: a few hundred observations leave most of a grid empty
  int first_ = 0, last_ = 0;
};

double SmoothAt(const std::vector<Mass>& masses, double sigma) {
  const int grid_size = static_cast<int>(std::max(2000.0, std::nearbyint(20.0 / sigma))) / 2 + 1;
  const int mesh = static_cast<int>(std::max(200.0, std::nearbyint(10.0 / sigma)));
  const Grid grid(masses, grid_size);
  const Smoother smoother(grid, sigma);
  double error = 0.0, density = 0.0;
  for (int m = 0; m < mesh; ++m) {
    const double at = static_cast<double>(m) / (mesh - 1) * (grid_size - 1);
    const int left = std::clamp(static_cast<int>(at), 0, grid_size - 2);
    const double right_share = at - left;
    double r0, w0, r1, w1;
    smoother.At(left, &r0, &w0);
    smoother.At(left + 1, &r1, &w1);
    error += std::abs(r0 * (1.0 - right_share) + r1 * right_share);
    density += w0 * (1.0 - right_share) + w1 * right_share + kDensityFloor;
  }
  return error / density;
}

// The smallest width (to 2^-10) that is not below the error it shows.
SmoothEce Search(const std::vector<Mass>& masses) {
  if (masses.empty()) return {std::numeric_limits<double>::quiet_NaN(), std::numeric_limits<double>::quiet_NaN()};
  const auto is_too_narrow = [&](double sigma) { return sigma < 1e-3 || sigma < SmoothAt(masses, sigma); };
  double wide = 1.0, narrow = 0.0;
  if (!is_too_narrow(wide)) {
    for (int i = 0; i < 10; ++i) {
      const double mid = (wide + narrow) / 2.0;
      (is_too_narrow(mid) ? narrow : wide) = mid;
    }
  }
  return {SmoothAt(masses, wide), wide};
}

std::vector<Mass> MassesOf(const Points& points) {
  std::vector<Mass> masses;
  masses.reserve(points.size());
  for (const Point& point : points) masses.push_back({point.p, point.p - point.y, 1.0});
  return masses;
}

}  // namespace

SmoothEce ComputeSmoothEce(const Points& points) { return Search(MassesOf(points)); }

SmoothEce ComputeSmoothEce(const Bins& bins) {
  std::vector<Mass> masses;
  for (const Bin& bin : bins)
    if (bin.n > 0.0) masses.push_back({bin.mean_p(), bin.sum_p - bin.sum_y, bin.n});
  return Search(masses);
}

double SmoothEceAt(const Points& points, double sigma) {
  return points.empty() || !(sigma > 0.0) ? std::numeric_limits<double>::quiet_NaN() : SmoothAt(MassesOf(points), sigma);
}

}  // namespace candor::calibration
