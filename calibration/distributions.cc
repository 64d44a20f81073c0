// Normal, beta, Student and Brownian-range functions from series, continued fractions and bisection.
#include "calibration/distributions.h"

#include <cmath>
#include <limits>
#include <numbers>

namespace candor::calibration {
namespace {

// Lentz's continued fraction for the incomplete beta function (DLMF 8.17.22); converges fast for x < (a + 1) / (a + b + 2).
double BetaFraction(double a, double b, double x) {
  constexpr double kTiny = 1e-300;
  double c = 1.0, d = 1.0 - (a + b) * x / (a + 1.0);
  d = 1.0 / (std::abs(d) < kTiny ? kTiny : d);
  double h = d;
  for (int m = 1; m <= 10000; ++m) {
    for (int half = 0; half < 2; ++half) {
      const double numerator =
          half == 0 ? m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)) : -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
      d = 1.0 + numerator * d;
      d = 1.0 / (std::abs(d) < kTiny ? kTiny : d);
      c = 1.0 + numerator / c;
      if (std::abs(c) < kTiny) c = kTiny;
      h *= d * c;
      if (half == 1 && std::abs(d * c - 1.0) < 1e-16) return h;
    }
  }
  return h;
}

// The x in [lo, hi] where the increasing function reaches `target`; bisection to the last bit.
template <typename F>
double Bisect(double lo, double hi, double target, F increasing) {
  for (int i = 0; i < 200; ++i) {
    const double mid = 0.5 * (lo + hi);
    if (mid <= lo || mid >= hi) break;
    (increasing(mid) < target ? lo : hi) = mid;
  }
  return 0.5 * (lo + hi);
}

}  // namespace

double NormalCdf(double z) { return 0.5 * std::erfc(-z / std::numbers::sqrt2); }
double NormalTail(double z) { return 0.5 * std::erfc(z / std::numbers::sqrt2); }

double NormalQuantile(double probability) {
  if (!(0.0 < probability && probability < 1.0)) return std::numeric_limits<double>::quiet_NaN();
  if (probability > 0.5) return -NormalQuantile(1.0 - probability);
  return Bisect(-40.0, 0.0, probability, NormalCdf);
}

double IncompleteBeta(double a, double b, double x) {
  if (!(x > 0.0)) return 0.0;
  if (!(x < 1.0)) return 1.0;
  const double log_front = std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x);
  if (x < (a + 1.0) / (a + b + 2.0)) return std::exp(log_front) * BetaFraction(a, b, x) / a;
  return 1.0 - std::exp(log_front) * BetaFraction(b, a, 1.0 - x) / b;
}

double BetaQuantile(double a, double b, double probability) {
  return Bisect(0.0, 1.0, probability, [&](double x) { return IncompleteBeta(a, b, x); });
}

double StudentQuantile(double degrees, double probability) {
  if (probability == 0.5) return 0.0;
  if (probability < 0.5) return -StudentQuantile(degrees, 1.0 - probability);
  // P(T > t) = I_{v / (v + t^2)}(v / 2, 1 / 2) / 2
  return Bisect(0.0, 1e9, probability, [&](double t) { return 1.0 - 0.5 * IncompleteBeta(degrees / 2, 0.5, degrees / (degrees + t * t)); });
}

double BrownianRangeTail(double x) {
  if (!(x > 0.0)) return 1.0;
  double sum = 0.0;
  if (x < 1.5) {  // 1 minus the theta series of the distribution function
    for (int k = 0; k < 200; ++k) {
      const double odd = (2 * k + 1) * std::numbers::pi;
      const double term = std::exp(-odd * odd / (2 * x * x)) * (1 / (x * x) + 1 / (odd * odd));
      sum += term;
      if (term < 1e-18) break;
    }
    return 1.0 - 8.0 * sum;
  }
  for (int k = 1; k < 200; ++k) {  // images: accurate in the far tail, where the other form cancels
    const double term = k * NormalTail(k * x);
    sum += (k % 2 == 1) ? term : -term;
    if (term < 1e-22 * sum) break;
  }
  return 8.0 * sum;
}

}  // namespace candor::calibration
