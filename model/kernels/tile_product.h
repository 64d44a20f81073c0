// Products of bf16 matrices on the matrix unit of x86-64 processors (AMX), with weights laid out once in the unit's own order. Sums run in
// fp32; what happens to a finished sum is part of the product, so that it is written once. Serial over the panels it is given; callers
// spread panels over threads. Numbers are raw 16-bit words.
#pragma once
#include <cstdint>

namespace candor {

inline constexpr int64_t kTileColumns = 32;  // columns of a panel
inline constexpr int64_t kTileDepth = 32;    // k is a multiple of it

enum class TileOutput : uint8_t {
  kBf16,      // out = sum (+ bias), rounded
  kFloat,     // out = sum (+ bias)
  kAddFloat,  // out += sum (+ bias)
  kSwiGlu     // panels hold 16 gate columns and their 16 up columns: out [rows, columns / 2] = silu(gate) * up, both rounded before
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
  uint16_t* scratch;  // [32, k] of this thread, where rows are not a multiple of 16: the last ones, filled up with zeros
};

struct TileKernels {
  // Panel of up to 32 rows of W [32, k]: [k / 32][2][16][16][2]; a null row is zeros.
  void (*pack)(const uint16_t* weight_rows[32], int64_t k, uint16_t* panel);
  void (*product)(const TileProduct& product);
};
// Null where the processor or the kernel has no such unit.
const TileKernels* GetTileKernels();

}  // namespace candor
