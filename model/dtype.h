// Number formats of a policy and the choice between them. `auto` is bf16 on a GPU and on a processor that multiplies bf16 itself (AMX,
// AVX512-BF16), however busy it is just now; on others it times one bf16 and one fp32 product: bf16 is mostly several times slower there.
// All roles of a run must agree, so one process resolves `auto` and tells the others.
#pragma once
#include <string>
#include <string_view>

#include "core/result.h"
#include "model/aten.h"

namespace candor {

enum class DType : uint8_t { kAuto = 0, kBf16 = 1, kFp32 = 2 };

const char* Name(DType dtype);
// "auto", "bf16" (or "bfloat16"), "fp32" (or "float32").
Result<DType> ParseDType(std::string_view text);

struct DTypeProbe {
  double bf16_gflops = 0.0;
  double fp32_gflops = 0.0;
  DType choice = DType::kFp32;
};
// Times products of the shape of a decoder layer (about 0.1 s).
DTypeProbe ProbeDType();
// kAuto becomes bf16 or fp32, as said above; the others stay.
DType ResolveDType(DType dtype, const at::Device& device = at::kCPU);
// Not for kAuto.
at::ScalarType ToScalarType(DType dtype);

// How products are computed. `deterministic` (fp32 on the CPU): by ordered_product.h, so that a row's result does not depend on the rows
// beside it; SelfTestRowInvariance (linear.h) says whether this machine keeps that promise.
struct Numerics {
  DType dtype = DType::kFp32;
  bool deterministic = false;
};

}  // namespace candor
