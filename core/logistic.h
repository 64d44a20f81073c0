// The logistic function and the integral of it, both without overflow. Pure, any thread.
#pragma once
#include <cmath>

namespace candor {

// 1 / (1 + e^-x): the probability of a log-odds.
inline double Sigmoid(double x) { return x >= 0.0 ? 1.0 / (1.0 + std::exp(-x)) : std::exp(x) / (1.0 + std::exp(x)); }

// ln(1 + e^x) = -ln Sigmoid(-x).
inline double SoftPlus(double x) { return x > 0.0 ? x + std::log1p(std::exp(-x)) : std::log1p(std::exp(x)); }

}  // namespace candor
