// The kernels for any x86-64 (or other) processor. Everything after the includes is compiled for that instruction set.
#include "model/kernels/kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace candor::kernels_baseline {
constexpr int kTileRows = 3;  // of a product: as many sums as the registers hold
#include "model/kernels/all.inc"
}  // namespace candor::kernels_baseline
