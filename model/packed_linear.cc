// Lays weights out for the matrix unit and spreads its products over threads.
#include "model/packed_linear.h"

#include <vector>

#include "core/check.h"

namespace candor {

bool CanPackTiles(const Linear& linear) {
  const at::Tensor& w = linear.weight_OI;
  return GetTileKernels() && w.is_cpu() && w.scalar_type() == at::kBFloat16 && w.is_contiguous() && w.size(1) % kTileDepth == 0;
}

int64_t TileElements(const Linear& linear) { return PanelCount(linear.weight_OI.size(0)) * kTileColumns * linear.weight_OI.size(1); }

void PackTiles(Linear& linear, bool gate_up, const at::Tensor& memory) {
  const int64_t columns = linear.weight_OI.size(0), k = linear.weight_OI.size(1), half = columns / 2;
  CANDOR_CHECK(CanPackTiles(linear) && memory.is_contiguous() && memory.numel() == TileElements(linear));
  CANDOR_CHECK(!gate_up || (columns % kTileColumns == 0 && !linear.bias_O.defined()));
  const auto* weight = static_cast<const uint16_t*>(linear.weight_OI.const_data_ptr());
  auto* tiles = static_cast<uint16_t*>(memory.mutable_data_ptr());
  at::parallel_for(0, PanelCount(columns), 4, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const uint16_t* rows[kTileColumns] = {};
      for (int64_t i = 0; i < kTileColumns; ++i) {
        const int64_t row = gate_up ? panel * 16 + i % 16 + i / 16 * half : panel * kTileColumns + i;
        if (row < columns) rows[i] = weight + row * k;
      }
      GetTileKernels()->pack(rows, k, tiles + panel * kTileColumns * k);
    }
  });
  linear.tiles = memory;
  linear.gate_up_tiles = gate_up;
}

bool CanPackSwiGlu(const Linear& gate_up) {
  return CanPackTiles(gate_up) && !gate_up.bias_O.defined() && gate_up.weight_OI.size(0) % kTileColumns == 0;
}

void TileApply(const Linear& linear, const at::Tensor& x_NI, TileOutput output, const at::Tensor& out_NO, uint16_t* kept) {
  const bool low = output == TileOutput::kBf16 || output == TileOutput::kSwiGlu;
  const int64_t columns = linear.weight_OI.size(0), rows = x_NI.size(0), k = x_NI.size(1);
  CANDOR_CHECK(x_NI.is_contiguous() && out_NO.is_contiguous() && k == linear.weight_OI.size(1) && out_NO.size(0) == rows);
  CANDOR_CHECK(x_NI.scalar_type() == at::kBFloat16 && out_NO.scalar_type() == (low ? at::kBFloat16 : at::kFloat));
  CANDOR_CHECK(linear.gate_up_tiles == (output == TileOutput::kSwiGlu));
  const auto* bias = linear.bias_O.defined() ? static_cast<const uint16_t*>(linear.bias_O.const_data_ptr()) : nullptr;
  TileProduct product{static_cast<const uint16_t*>(x_NI.const_data_ptr()),
                      k,
                      rows,
                      k,
                      static_cast<const uint16_t*>(linear.tiles.const_data_ptr()),
                      0,
                      0,
                      columns,
                      bias,
                      output,
                      out_NO.mutable_data_ptr(),
                      out_NO.size(1),
                      kept,
                      nullptr};
  if (rows == 0) return;
  at::parallel_for(0, PanelCount(columns), 1, [&](int64_t begin, int64_t end) {
    std::vector<uint16_t> scratch(rows % 16 == 0 ? 0 : static_cast<size_t>(32 * k));
    TileProduct part = product;
    part.first_panel = begin, part.last_panel = end, part.scratch = scratch.data();
    GetTileKernels()->product(part);
  });
}

}  // namespace candor
