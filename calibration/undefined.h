// What a measure of nothing is worth.
#pragma once
#include <limits>

namespace candor::calibration {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

}  // namespace candor::calibration
