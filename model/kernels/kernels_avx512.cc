// The kernels for processors with AVX-512 (F, BW, VL, DQ). Everything after the includes is compiled for that instruction set.
#include "model/kernels/kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,prefer-vector-width=512")
namespace candor::kernels_avx512 {
constexpr int kTileRows = 12;  // of a product: as many sums as the registers hold
#include "model/kernels/all.inc"
}  // namespace candor::kernels_avx512
