// The kernels for processors with AVX-512 (F, BW, VL, DQ). Everything after the includes is compiled for that instruction set.
#include "model/kernels/kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")
namespace candor::kernels_avx512 {
// As many sums as the registers hold: rows and vectors of 16 columns of a product, vectors of a head in attention.
constexpr int kTileRows = 12, kTileVectors = 2, kVectorsAtOnce = 4;
#define CANDOR_VECTOR_BYTES 64
#include "model/kernels/all.inc"
}  // namespace candor::kernels_avx512
