// The kernels for any x86-64 (or other) processor. Everything after the includes is compiled for that instruction set.
#include "model/kernels/kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace candor::kernels_baseline {
#include "model/kernels/vector_math.inc"
#include "model/kernels/elementwise.inc"
#include "model/kernels/softmax.inc"
#include "model/kernels/attention_forward.inc"
#include "model/kernels/attention_backward.inc"
#include "model/kernels/table.inc"
}  // namespace candor::kernels_baseline
