// Confidence: a probability that was parsed once and cannot hold NaN, infinity or a number outside [0, 1].
#pragma once
#include <cmath>
#include <cstdint>
#include <optional>

namespace candor {

class Confidence {
 public:
  // nullopt unless 0 <= p <= 1; the test is written positively so that NaN fails it.
  static std::optional<Confidence> From(double p) {
    if (0.0 <= p && p <= 1.0) return Confidence(p);
    return std::nullopt;
  }
  double value() const { return p_; }
  // p in units of 1e-9, rounded half to even: the exact integer that bins and sketches use.
  int64_t nano() const { return std::llrint(p_ * 1e9); }
  friend bool operator==(Confidence, Confidence) = default;

 private:
  explicit Confidence(double p) : p_(p) {}
  double p_;
};

}  // namespace candor
