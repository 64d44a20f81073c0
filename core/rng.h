// Counter-based randomness: a random number is a pure function of its coordinates (run seed, stream, and up to four numbers such as group,
// sample, position). There is no state, so a re-issued group draws the same numbers on any worker. Mixing is SplitMix64's finaliser
// (Steele, Lea & Flood 2014), chained over the coordinates.
#pragma once
#include <cstdint>
#include <initializer_list>

namespace candor {

constexpr uint64_t SplitMix64(uint64_t x) {
  x += 0x9E3779B97F4A7C15ull;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

// What a number is for; two streams never share numbers.
enum class RngStream : uint64_t { kSample = 1, kOrder, kInit, kBootstrap, kSynthetic, kSplit, kSftConfidence, kTokenChoice, kCurriculum };

constexpr uint64_t RandomBits(uint64_t seed, RngStream stream, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0) {
  uint64_t h = SplitMix64(seed);
  for (uint64_t coordinate : {static_cast<uint64_t>(stream), a, b, c, d}) h = SplitMix64(h ^ SplitMix64(coordinate));
  return h;
}
// Uniform in [0, 1) with 53 bits.
constexpr double ToUnit(uint64_t bits) { return static_cast<double>(bits >> 11) * 0x1.0p-53; }
constexpr double RandomUnit(uint64_t seed, RngStream stream, uint64_t a = 0, uint64_t b = 0, uint64_t c = 0, uint64_t d = 0) {
  return ToUnit(RandomBits(seed, stream, a, b, c, d));
}

// The order in which epoch `epoch` visits n items: position -> item, by sorting hashed keys (ties by index). O(n log n), no state.
void EpochOrder(uint64_t seed, uint64_t epoch, uint32_t n, uint32_t* order_n);

}  // namespace candor
