// The kernels for any x86-64 (or other) processor. Everything after the includes is compiled for that instruction set.
#include "model/kernels/kernels.h"

#pragma GCC diagnostic ignored "-Wpsabi"

namespace candor::kernels_baseline {
#include "model/kernels/all.inc"
}  // namespace candor::kernels_baseline
