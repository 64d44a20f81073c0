// Products of bf16 matrices by AVX-512's own bf16 instruction, for processors without a matrix unit (AMD since Zen 4, Intel's Cooper Lake).
// MKL has no such product for AMD: it widens everything to fp32. Everything after the includes is compiled for that instruction set; so
// nothing of the standard library is used, whose functions the linker shares with the rest of the program.
#include "model/kernels/tile_product.h"

#if defined(__x86_64__) && defined(__linux__)
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"  // GCC 12's own headers, for results it calls undefined
#include <cpuid.h>
#include <immintrin.h>

#pragma GCC diagnostic ignored "-Wpsabi"
#pragma GCC target("avx2,fma,avx512f,avx512bw,avx512vl,avx512dq,avx512bf16,prefer-vector-width=512")
namespace candor::kernels_avx512bf16 {
#define CANDOR_VECTOR_BYTES 64
#include "model/kernels/tile_finish.inc"
// Pairs of consecutive k of the left factor: row r's pair p of step s stands at at[r * row + p * pair + s * step].
struct Left {
  const uint16_t* at;
  int64_t row, pair, step;
};

CANDOR_INLINE __m512 Multiplied(__m512 sum, __m512i a, __m512i b) {
  return _mm512_dpbf16_ps(sum, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
}
CANDOR_INLINE __m512i Pair(const uint16_t* p) {
  int32_t both;
  __builtin_memcpy(&both, p, sizeof both);
  return _mm512_set1_epi32(both);
}

// While a panel is multiplied the next one comes into the second-level cache, half of it with each of the first two blocks of rows: panels
// are larger together than any cache, and a core that waits for them loses more than a fifth of its time at 64 rows, half of it at 16.
struct Ahead {
  const uint16_t* at;
  int64_t hop;  // words from one line of the cache to the next, of which every pair of k asks for one
};
CANDOR_INLINE Ahead AheadOf(const uint16_t* panel, int64_t block, int64_t k) {
  return block < 2 ? Ahead{panel + block * kTileColumns / 2 * k, 32} : Ahead{panel, 0};
}

// sums [Rows, 32] = left [Rows, k] times one panel. At most 12 rows: as many sums as the registers hold.
template <int Rows>
static void Multiply(const Left& left, const uint16_t* panel, int64_t k, float* sums, Ahead ahead) {
  __m512 low[Rows], high[Rows];
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) low[r] = high[r] = _mm512_setzero_ps();
  const uint16_t* a = left.at;
  const int64_t row = left.row;
  for (int64_t step = 0; step < k / kTileDepth; ++step, a += left.step, panel += 2 * kTileWords) {
    const uint16_t* at = a;
#pragma GCC unroll 1
    for (int pair = 0; pair < 16; ++pair, at += left.pair) {
      const __m512i b_low = LoadWords(panel + pair * 32), b_high = LoadWords(panel + kTileWords + pair * 32);
      _mm_prefetch(reinterpret_cast<const char*>(ahead.at), _MM_HINT_T1);
      ahead.at += ahead.hop;
      const uint16_t* groups[4] = {at, at + 3 * row, at + 6 * row, at + 9 * row};  // three rows are reached from one pointer
#pragma GCC unroll 12
      for (int r = 0; r < Rows; ++r) {
        const __m512i both = Pair(groups[r / 3] + r % 3 * row);
        low[r] = Multiplied(low[r], both, b_low);
        high[r] = Multiplied(high[r], both, b_high);
      }
    }
  }
#pragma GCC unroll 12
  for (int r = 0; r < Rows; ++r) _mm512_storeu_ps(sums + r * 32, low[r]), _mm512_storeu_ps(sums + r * 32 + 16, high[r]);
}

constexpr int kRowsMax = 12;
using MultiplyFn = void (*)(const Left&, const uint16_t*, int64_t, float*, Ahead);
constexpr MultiplyFn kMultiply[kRowsMax + 1] = {nullptr,     Multiply<1>, Multiply<2>, Multiply<3>,  Multiply<4>,  Multiply<5>, Multiply<6>,
                                                Multiply<7>, Multiply<8>, Multiply<9>, Multiply<10>, Multiply<11>, Multiply<12>};

// What every panel is multiplied with stays in the second-level cache: some rows, and of a deep product that goes to fp32 only some depth.
constexpr int64_t kNearBytes = 192 << 10, kDepth = 1024;

// Rows of results lie far apart: no processor guesses the next one.
CANDOR_INLINE void ComingResults(const TileProduct& p, int64_t row, int64_t panel) {
  if (p.output == TileOutput::kFloat || p.output == TileOutput::kAddFloat) {
    const float* to = static_cast<const float*>(p.out) + row * p.out_row + panel * kTileColumns;
    __builtin_prefetch(to, 1), __builtin_prefetch(to + 16, 1);
  } else if (p.kept) {
    const uint16_t* to = p.kept + row * p.columns + panel * kTileColumns / 2;
    __builtin_prefetch(to, 1), __builtin_prefetch(to + p.columns / 2, 1);
  }
}

// Rows [first_row, last_row) times the part of all panels that begins at first_k.
static void ProductPart(const TileProduct& p, int64_t first_row, int64_t last_row, int64_t first_k, int64_t depth) {
  alignas(64) float sums[kRowsMax * 32];
  const int64_t all = last_row - first_row, blocks = (all + kRowsMax - 1) / kRowsMax;
  for (int64_t panel = p.first_panel; panel < p.last_panel; ++panel) {
    const uint16_t* weights = p.panels + panel * kTileColumns * p.k + first_k * kTileColumns;
    const uint16_t* next = panel + 1 < p.last_panel ? weights + kTileColumns * p.k : weights;
    for (int64_t block = 0; block < blocks; ++block) {  // of equal size, or one row less
      const int64_t first = first_row + block * all / blocks, rows = first_row + (block + 1) * all / blocks - first;
      for (int64_t r = first; r < first + rows; ++r) ComingResults(p, r, panel);
      kMultiply[rows]({p.x + first * p.x_row + first_k, p.x_row, 2, kTileDepth}, weights, depth, sums, AheadOf(next, block, depth));
      Finish(p, sums, first, rows, panel);
    }
  }
}

static void Product(const TileProduct& p) {
  TileProduct part = p;
  const bool adds_up = p.output == TileOutput::kFloat || p.output == TileOutput::kAddFloat;
  const int64_t depth = adds_up && p.k > 4 * kDepth ? kDepth : p.k, fitting = kNearBytes / (2 * depth) / kRowsMax * kRowsMax;
  const int64_t near = fitting > 4 * kRowsMax ? fitting : 4 * kRowsMax, rounds = (p.rows + near - 1) / near;
  for (int64_t k = 0; k < p.k; k += depth) {
    for (int64_t round = 0; round < rounds; ++round)
      ProductPart(part, round * p.rows / rounds, (round + 1) * p.rows / rounds, k, p.k - k < depth ? p.k - k : depth);
    if (adds_up) part.output = TileOutput::kAddFloat, part.bias = nullptr;
  }
}

static void PackColumns(const uint16_t* b, int64_t b_row, int64_t k, int64_t columns, uint16_t* panel) {
  const auto mask_of = [](int64_t left) { return static_cast<__mmask16>(left >= 16 ? 0xffff : left <= 0 ? 0 : (1 << left) - 1); };
  const __mmask16 masks[2] = {mask_of(columns), mask_of(columns - 16)};
  const int64_t ahead = 64 * b_row;
  for (int64_t first = 0; first < k; first += kTileDepth) {
    for (int half = 0; half < 2; ++half) {
      const uint16_t* from = b + first * b_row + half * 16;
      for (int64_t i = first; i < first + kTileDepth; i += 2, from += 2 * b_row, panel += 32) {
        _mm_prefetch(reinterpret_cast<const char*>(from + ahead), _MM_HINT_T0);
        _mm_prefetch(reinterpret_cast<const char*>(from + ahead + b_row), _MM_HINT_T0);
        const __m256i even = i < k ? _mm256_maskz_loadu_epi16(masks[half], from) : _mm256_setzero_si256();
        const __m256i odd = i + 1 < k ? _mm256_maskz_loadu_epi16(masks[half], from + b_row) : _mm256_setzero_si256();
        _mm512_storeu_si512(panel, _mm512_or_si512(_mm512_cvtepu16_epi32(even), _mm512_slli_epi32(_mm512_cvtepu16_epi32(odd), 16)));
      }
    }
  }
}

static void AddTransposed(const uint16_t* a_panel, const uint16_t* b_panel, int64_t k, int64_t rows, int64_t columns, float* c,
                          int64_t c_row, const uint16_t* next_b) {
  constexpr int kRows = 8;  // what divides a half panel
  alignas(64) float sums[kRows * 32];
  for (int64_t r = 0; r < rows; ++r)  // c's rows lie far apart: no processor guesses the next one
    for (int64_t i = 0; i < columns; i += 16) _mm_prefetch(reinterpret_cast<const char*>(c + r * c_row + i), _MM_HINT_T0);
  for (int64_t first = 0; first < rows; first += kRows) {
    Multiply<kRows>({a_panel + first / 16 * kTileWords + first % 16 * 2, 2, 32, 2 * kTileWords}, b_panel, k, sums,
                    AheadOf(next_b, first / kRows, k));
    for (int64_t r = 0; r < kRows && first + r < rows; ++r)
      for (int64_t i = 0; i < columns; i += 16) {
        float* to = c + (first + r) * c_row + i;
        StoreUpTo(to, LoadUpTo(to, columns - i) + Load(sums + r * 32 + i), columns - i);
      }
  }
}

static bool Available() {
  unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
  if (!__get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) || !(eax >> 5 & 1u)) return false;
  return __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}

const TileKernels* Unit() {
  static const TileKernels kernels{"avx512_bf16", Pack, Product, PackColumns, AddTransposed};
  static const bool available = Available();
  return available ? &kernels : nullptr;
}

}  // namespace candor::kernels_avx512bf16
#else
namespace candor::kernels_avx512bf16 {
const TileKernels* Unit() { return nullptr; }
}  // namespace candor::kernels_avx512bf16
#endif
