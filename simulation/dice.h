// Randomness of a simulation: counted draws of core/rng.h, one counter per purpose, so that a change in one part leaves the others' draws.
#pragma once
#include <cstdint>

#include "core/rng.h"

namespace candor::sim {

class Dice {
 public:
  Dice(uint64_t seed, uint64_t purpose) : seed_(seed), purpose_(purpose) {}
  uint64_t Bits() { return RandomBits(seed_, RngStream::kSynthetic, purpose_, ++count_); }
  double Unit() { return ToUnit(Bits()); }
  bool Chance(double p) { return Unit() < p; }
  int64_t Between(int64_t low, int64_t high) { return low + static_cast<int64_t>(Bits() % static_cast<uint64_t>(high - low + 1)); }

 private:
  uint64_t seed_, purpose_, count_ = 0;
};

}  // namespace candor::sim
