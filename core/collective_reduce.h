// Element-wise reduction in rank order: the same inputs give the same bits on every backend. bf16 is summed in fp32 and rounded once, half
// to even.
#pragma once
#include <cstddef>
#include <vector>

#include "core/collective.h"

namespace candor {

// out[i] = inputs[0][i] (op) inputs[1][i] (op) ... for `count` elements that start `offset_bytes` into every input. `out` may not overlap
// an input, except to equal inputs[0].
void ReduceInRankOrder(const std::vector<const void*>& inputs, size_t offset_bytes, void* out, size_t count, ElementType type, ReduceOp op);

float FromBFloat16(uint16_t bits);
uint16_t ToBFloat16(float value);

}  // namespace candor
