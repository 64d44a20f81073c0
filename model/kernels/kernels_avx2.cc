// The kernels for processors with AVX2 and FMA. Everything after the includes is compiled for that instruction set.
#include "model/kernels/kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC target("avx2,fma,f16c")
namespace candor::kernels_avx2 {
constexpr int kTileRows = 3;  // of a product: as many sums as the registers hold
#include "model/kernels/all.inc"
}  // namespace candor::kernels_avx2
