// The kernels for processors with AVX2 and FMA. Everything after the includes is compiled for that instruction set.
#include "model/kernels/kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC target("avx2,fma,f16c")
namespace candor::kernels_avx2 {
// As many sums as the registers hold: rows and vectors of 16 columns of a product, vectors of a head in attention.
constexpr int kTileRows = 6, kTileVectors = 1, kVectorsAtOnce = 1;
#define CANDOR_VECTOR_BYTES 32
#include "model/kernels/all.inc"
}  // namespace candor::kernels_avx2
