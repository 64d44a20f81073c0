#include "core/collective_reduce.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace candor {

float FromBFloat16(uint16_t bits) {
  uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &wide, sizeof value);
  return value;
}

uint16_t ToBFloat16(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof bits);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return static_cast<uint16_t>((bits >> 16) | 0x40u);  // NaN stays NaN
  return static_cast<uint16_t>((bits + 0x7FFFu + ((bits >> 16) & 1u)) >> 16);
}

namespace {

template <typename T>
T Combine(T a, T b, ReduceOp op) {
  switch (op) {
    case ReduceOp::kSum:
      return static_cast<T>(a + b);
    // NaN must win, so that one rank's NaN reaches every rank's verdict.
    case ReduceOp::kMax:
      return b > a || b != b ? b : a;
    case ReduceOp::kMin:
      return b < a || b != b ? b : a;
  }
  return a;
}

constexpr size_t kBlock = 4096;  // elements summed at once, so that the running sums stay in the cache

template <typename Stored, typename Sum, typename Load, typename Store>
void Reduce(const std::vector<const void*>& inputs, size_t offset_bytes, void* out, size_t count, ReduceOp op, Load load, Store store) {
  Sum sums[kBlock];
  for (size_t begin = 0; begin < count; begin += kBlock) {
    const size_t n = std::min(kBlock, count - begin);
    for (size_t r = 0; r < inputs.size(); ++r) {
      const Stored* in = reinterpret_cast<const Stored*>(static_cast<const char*>(inputs[r]) + offset_bytes) + begin;
      if (r == 0)
        for (size_t i = 0; i < n; ++i) sums[i] = load(in[i]);
      else if (op == ReduceOp::kSum)
        for (size_t i = 0; i < n; ++i) sums[i] = static_cast<Sum>(sums[i] + load(in[i]));
      else
        for (size_t i = 0; i < n; ++i) sums[i] = Combine(sums[i], load(in[i]), op);
    }
    Stored* target = static_cast<Stored*>(out) + begin;
    for (size_t i = 0; i < n; ++i) target[i] = store(sums[i]);
  }
}

}  // namespace

void ReduceInRankOrder(const std::vector<const void*>& inputs, size_t offset_bytes, void* out, size_t count, ElementType type,
                       ReduceOp op) {
  auto same = [](auto x) { return x; };
  switch (type) {
    case ElementType::kFloat32:
      return Reduce<float, float>(inputs, offset_bytes, out, count, op, same, same);
    case ElementType::kBFloat16:
      return Reduce<uint16_t, float>(inputs, offset_bytes, out, count, op, FromBFloat16, ToBFloat16);
    case ElementType::kInt64:
      return Reduce<int64_t, int64_t>(inputs, offset_bytes, out, count, op, same, same);
    case ElementType::kByte:
      return Reduce<uint8_t, uint8_t>(inputs, offset_bytes, out, count, op, same, same);
  }
}

}  // namespace candor
