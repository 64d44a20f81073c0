// Chooses the kernels of this processor, once.
#include "model/kernels/kernels.h"

namespace candor {
namespace kernels_baseline {
Kernels MakeKernels(const char* name);
}
namespace kernels_avx2 {
Kernels MakeKernels(const char* name);
}
namespace kernels_avx512 {
Kernels MakeKernels(const char* name);
}

const std::vector<Kernels>& AllKernels() {
  static const std::vector<Kernels> kernels = [] {
    std::vector<Kernels> all;
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq")) {
      all.push_back(kernels_avx512::MakeKernels("avx512"));
    }
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) all.push_back(kernels_avx2::MakeKernels("avx2"));
    all.push_back(kernels_baseline::MakeKernels("baseline"));
    return all;
  }();
  return kernels;
}

const Kernels& GetKernels() {
  static const Kernels& fastest = AllKernels().front();
  return fastest;
}

}  // namespace candor
