// The matrix unit's kernels (AMX with bf16, AVX-512). Everything after the includes is compiled for that instruction set; so nothing of the
// standard library is used, whose functions the linker shares with the rest of the program.
#include "model/kernels/tile_product.h"

#if defined(__x86_64__) && defined(__linux__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own headers, for results it calls undefined
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,amx-tile,amx-bf16,prefer-vector-width=512")
namespace candor::kernels_amx {
#define CANDOR_VECTOR_BYTES 64
#include "model/kernels/tile_finish.inc"
struct alignas(64) TileConfig {
  uint8_t palette = 1, start_row = 0, reserved[14] = {};
  uint16_t column_bytes[16] = {};
  uint8_t rows[16] = {};
};

static void Configure() {
  TileConfig config;
  for (int tile = 0; tile < 8; ++tile) config.column_bytes[tile] = 64, config.rows[tile] = 16;
  _tile_loadconfig(&config);
}

// The 1 KiB from p, into the second-level cache.
CANDOR_INLINE void Fetch(const uint16_t* p) {
#pragma GCC unroll 16
  for (int line = 0; line < 16; ++line) _mm_prefetch(reinterpret_cast<const char*>(p) + 64 * line, _MM_HINT_T1);
}

// sums [32, 32] = x [32, k] times one panel; `lower`: the rows from 16 on are wanted too. Half a panel's worth of memory from `ahead` is
// fetched meanwhile, because weights come from memory and the unit is several times faster than that.
static void Multiply(const uint16_t* x, int64_t x_row, const uint16_t* panel, int64_t k, bool lower, const uint16_t* ahead, float* sums) {
  const auto stride = static_cast<size_t>(x_row) * 2;
  _tile_zero(0);
  _tile_zero(1);
  const int64_t steps = k / kTileDepth;
  if (lower) {
    _tile_zero(2);
    _tile_zero(3);
    for (int64_t step = 0; step < steps; ++step, x += kTileDepth, panel += 2 * kTileWords, ahead += kTileWords) {
      Fetch(ahead);
      _tile_loadd(6, panel, 64);
      _tile_loadd(4, x, stride);
      _tile_loadd(7, panel + kTileWords, 64);
      _tile_loadd(5, x + 16 * x_row, stride);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
      _tile_dpbf16ps(2, 5, 6);
      _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(2, sums + 16 * 32, 128);
    _tile_stored(3, sums + 16 * 32 + 16, 128);
  } else {
    for (int64_t step = 0; step < steps; ++step, x += kTileDepth, panel += 2 * kTileWords, ahead += kTileWords) {
      Fetch(ahead);
      _tile_loadd(6, panel, 64);
      _tile_loadd(4, x, stride);
      _tile_loadd(7, panel + kTileWords, 64);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
    }
  }
  _tile_stored(0, sums, 128);
  _tile_stored(1, sums + 16, 128);
}

static void Product(const TileProduct& p) {
  alignas(64) float sums[32 * 32];
  const int64_t whole = p.rows / 32 * 32, rest = p.rows - whole;
  const bool ragged = rest % 16 != 0;
  const uint16_t* last = p.x + whole * p.x_row;
  int64_t last_row = p.x_row;
  if (ragged) {
    const auto row_bytes = static_cast<size_t>(p.k) * sizeof(uint16_t);
    __builtin_memset(p.scratch, 0, 32 * row_bytes);
    for (int64_t r = 0; r < rest; ++r) __builtin_memcpy(p.scratch + r * p.k, last + r * p.x_row, row_bytes);
    last = p.scratch, last_row = p.k;
  }
  Configure();
  for (int64_t panel = p.first_panel; panel < p.last_panel; ++panel) {
    const uint16_t* weights = p.panels + panel * kTileColumns * p.k;
    const uint16_t* next = panel + 1 < p.last_panel ? weights + kTileColumns * p.k : weights;
    for (int64_t row = 0; row < whole; row += 32) {
      Multiply(p.x + row * p.x_row, p.x_row, weights, p.k, true, row == 0 ? next : next + kTileColumns / 2 * p.k, sums);
      Finish(p, sums, row, 32, panel);
    }
    if (rest > 0) {
      Multiply(last, last_row, weights, p.k, rest > 16, whole == 0 ? next : next + kTileColumns / 2 * p.k, sums);
      Finish(p, sums, whole, rest, panel);
    }
  }
  _tile_release();
}

// The processor has the unit, and Linux lets this process use its registers.
static bool Available() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return false;
  const bool amx = (edx >> 22 & 1u) && (edx >> 24 & 1u);
  if (!__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) || !(eax >> 5 & 1u)) return false;
  if (!amx || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") || !__builtin_cpu_supports("avx512dq"))
    return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)
  return ::syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

const TileKernels* Unit() {
  static const TileKernels kernels{"amx", Pack, Product, nullptr, nullptr};
  static const bool available = Available();
  return available ? &kernels : nullptr;
}
}  // namespace candor::kernels_amx
#else
namespace candor::kernels_amx {
const TileKernels* Unit() { return nullptr; }
}  // namespace candor::kernels_amx
#endif
