// Products of bf16 matrices on the matrix unit of x86-64 processors (AMX) or by the bf16 instruction of AVX-512, with weights laid out once
// in an order that suits both. Sums run in fp32; what happens to a finished sum is part of the product, so that it is written once. Serial
// over the panels it is given; callers spread panels over threads. Numbers are raw 16-bit words.
#pragma once
#include <cstdint>
#include <vector>

namespace candor {

inline constexpr int64_t kTileColumns = 32;  // columns of a panel
inline constexpr int64_t kTileDepth = 32;    // k is a multiple of it
constexpr int64_t PanelCount(int64_t columns) { return (columns + kTileColumns - 1) / kTileColumns; }

enum class TileOutput : uint8_t {
  kBf16,      // out = sum (+ bias), rounded
  kFloat,     // out = sum (+ bias)
  kAddFloat,  // out += sum (+ bias)
  kSwiGlu     // panels hold 16 gate columns and their 16 up columns: out [rows, columns / 2] = silu(gate) * up, rounded once
};

struct TileProduct {
  const uint16_t* x;  // [rows, k], rows x_row elements apart
  int64_t x_row;
  int64_t rows, k;
  const uint16_t* panels;  // of PackTilePanel, one behind the other
  int64_t first_panel, last_panel;
  int64_t columns;       // of the whole product: the last panel may be partly empty
  const uint16_t* bias;  // null: none; [columns], not with kSwiGlu
  TileOutput output;
  void* out;
  int64_t out_row;    // elements
  uint16_t* kept;     // with kSwiGlu, or null: [rows, columns], gate and then up, rounded
  uint16_t* scratch;  // [32, k] of this thread, where rows are not a multiple of 16: the last ones, filled up with zeros
};

struct TileKernels {
  const char* unit;  // "amx", "avx512_bf16"
  // Panel of up to 32 rows of W [32, k]: [k / 32][2][16][16][2]; a null row is zeros.
  void (*pack)(const uint16_t* weight_rows[32], int64_t k, uint16_t* panel);
  void (*product)(const TileProduct& product);
  // For factors that are used once; null where MKL is as fast (AMX). The panel of up to 32 columns of b [k, columns], its rows b_row
  // elements apart, filled up with zeros to a multiple of kTileDepth; and c [rows, columns] += aᵀ b for two such panels with `k` filled-up
  // rows, while the next panel of b (`next_b`, or any panel) comes nearer.
  void (*pack_columns)(const uint16_t* b, int64_t b_row, int64_t k, int64_t columns, uint16_t* panel);
  void (*add_transposed)(const uint16_t* a_panel, const uint16_t* b_panel, int64_t k, int64_t rows, int64_t columns, float* c,
                         int64_t c_row, const uint16_t* next_b);
};
// The fastest of this processor; null where it has none or Linux keeps it back.
const TileKernels* GetTileKernels();
// All of this processor, fastest first (for tests).
std::vector<const TileKernels*> AllTileKernels();

}  // namespace candor
