// Chooses the kernels of this processor, once.
#include "model/kernels/kernels.h"

#include "model/kernels/tile_product.h"

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

namespace kernels_amx {
const TileKernels* Unit();
}
namespace kernels_avx512bf16 {
const TileKernels* Unit();
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

std::vector<const TileKernels*> AllTileKernels() {
  std::vector<const TileKernels*> all;
  for (const TileKernels* unit : {kernels_amx::Unit(), kernels_avx512bf16::Unit()})
    if (unit) all.push_back(unit);
  return all;
}

const TileKernels* GetTileKernels() {
  static const TileKernels* const fastest = AllTileKernels().empty() ? nullptr : AllTileKernels().front();
  return fastest;
}

}  // namespace candor
