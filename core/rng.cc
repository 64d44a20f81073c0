#include "core/rng.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace candor {

void EpochOrder(uint64_t seed, uint64_t epoch, uint32_t n, uint32_t* order_n) {
  std::vector<uint64_t> key_n(n);
  for (uint32_t i = 0; i < n; ++i) key_n[i] = RandomBits(seed, RngStream::kOrder, epoch, i);
  std::iota(order_n, order_n + n, 0u);
  std::sort(order_n, order_n + n, [&](uint32_t a, uint32_t b) { return key_n[a] != key_n[b] ? key_n[a] < key_n[b] : a < b; });
}

}  // namespace candor
