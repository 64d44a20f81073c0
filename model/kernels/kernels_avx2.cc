// The kernels for processors with AVX2 and FMA. Everything after the includes is compiled for that instruction set.
#include "model/kernels/kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC target("avx2,fma,f16c")
namespace candor::kernels_avx2 {
#include "model/kernels/vector_math.inc"
#include "model/kernels/elementwise.inc"
#include "model/kernels/softmax.inc"
#include "model/kernels/attention_forward.inc"
#include "model/kernels/attention_backward.inc"
#include "model/kernels/table.inc"
}  // namespace candor::kernels_avx2
