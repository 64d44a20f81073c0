// Names of number formats and the timing probe behind dtype = "auto".
#include "model/dtype.h"

#include <algorithm>
#include <chrono>

#include "core/check.h"
#include "model/kernels/tile_product.h"
#include "model/linear.h"

namespace candor {

const char* Name(DType dtype) {
  switch (dtype) {
    case DType::kAuto:
      return "auto";
    case DType::kBf16:
      return "bf16";
    case DType::kFp32:
      return "fp32";
  }
  return "?";
}

Result<DType> ParseDType(std::string_view text) {
  if (text == "auto") return DType::kAuto;
  if (text == "bf16" || text == "bfloat16") return DType::kBf16;
  if (text == "fp32" || text == "float32") return DType::kFp32;
  return Fail(ErrorCode::kInvalidInput, "'" + std::string(text) + "' is not a dtype", "dtype", "use auto, bf16 or fp32");
}

at::ScalarType ToScalarType(DType dtype) {
  CANDOR_CHECK(dtype != DType::kAuto, "resolve dtype = auto first");
  return dtype == DType::kBf16 ? at::kBFloat16 : at::kFloat;
}

// The best of a few runs, so that a busy machine does not decide.
static double MeasureGflops(at::ScalarType type) {
  constexpr int64_t kRows = 128, kIn = 576, kOut = 1536;
  const at::Tensor x = at::ones({kRows, kIn}, type);
  const Linear linear{at::ones({kOut, kIn}, type), {}, {}};
  const Numerics numerics{type == at::kBFloat16 ? DType::kBf16 : DType::kFp32, false};
  double best_seconds = 1e9;
  for (int i = 0; i < 6; ++i) {
    const auto start = std::chrono::steady_clock::now();
    Apply(linear, x, numerics);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (i > 0) best_seconds = std::min(best_seconds, seconds);  // the first one makes the kernel
  }
  return 2.0 * kRows * kIn * kOut / best_seconds * 1e-9;
}

DTypeProbe ProbeDType() {
  at::NoGradGuard no_grad;
  DTypeProbe probe;
  probe.bf16_gflops = MeasureGflops(at::kBFloat16);
  probe.fp32_gflops = MeasureGflops(at::kFloat);
  probe.choice = probe.bf16_gflops > probe.fp32_gflops ? DType::kBf16 : DType::kFp32;
  return probe;
}

DType ResolveDType(DType dtype, const at::Device& device) {
  if (dtype != DType::kAuto) return dtype;
  return !device.is_cpu() || GetTileKernels() ? DType::kBf16 : ProbeDType().choice;
}

}  // namespace candor
