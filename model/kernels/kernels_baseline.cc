// The kernels for any x86-64 (or other) processor. Everything after the includes is compiled for that instruction set.
#include "model/kernels/kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace candor::kernels_baseline {
// As many sums as the registers hold: rows and vectors of 16 columns of a product, vectors of a head in attention.
constexpr int kTileRows = 3, kTileVectors = 1, kVectorsAtOnce = 1;
#define CANDOR_VECTOR_BYTES 16
#include "model/kernels/all.inc"
}  // namespace candor::kernels_baseline
