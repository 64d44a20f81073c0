// Weights laid out once for the processor's matrix unit (kernels/tile_product.h): what the engine multiplies with where there is one. The
// same sums as the plain products of bf16, in fp32; they reach the residual stream and the logits without a rounding in between.
#pragma once
#include "model/kernels/tile_product.h"
#include "model/linear.h"

namespace candor {

// bf16 on the CPU, a matrix unit, and an input width that fills whole tiles.
bool CanPackTiles(const Linear& linear);
// The same, without bias and with a multiple of 32 rows: gate and up can lie side by side.
bool CanPackSwiGlu(const Linear& gate_up);
// bf16 numbers that the layout takes.
int64_t TileElements(const Linear& linear);
// Lays the weight out in `memory` (TileElements long; large_pages.h: weights are read once per step, and walking small pages costs more
// than the reading). `gate_up`: rows of gate, then of up, for ApplySwiGlu (linear.h), where CanPackSwiGlu.
void PackTiles(Linear& linear, bool gate_up, const at::Tensor& memory);

// x [N, I] (contiguous) against a packed weight, spread over threads by columns of the result. `kept`: TileProduct's.
void TileApply(const Linear& linear, const at::Tensor& x_NI, TileOutput output, const at::Tensor& out_NO, uint16_t* kept = nullptr);

}  // namespace candor
