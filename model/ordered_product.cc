// Cuts a product into blocks for threads and caches; the sums themselves are in kernels/product.inc.
#include "model/ordered_product.h"

#include <algorithm>
#include <vector>

#include "core/check.h"
#include "model/kernels/kernels.h"

namespace candor {
namespace {

constexpr int64_t kBlockColumns = 512;  // of b: with kProductDepth rows, 1 MiB of a core's second-level cache
constexpr int64_t kBlockRows = 768;
constexpr int64_t kSerialSums = 1 << 16;  // smaller products are not worth a second thread

int64_t DivideUp(int64_t x, int64_t by) { return (x + by - 1) / by; }

}  // namespace

FloatMatrix View(const at::Tensor& x) {
  CANDOR_CHECK(x.dim() == 2 && x.is_contiguous() && x.is_cpu() && x.scalar_type() == at::kFloat, "deterministic products are fp32");
  return {x.const_data_ptr<float>(), x.size(1), 1};
}

FloatMatrix Transposed(const FloatMatrix& x) { return {x.data, x.column, x.row}; }

const float* ColumnPanels::Panel(int64_t panel, int64_t k) const { return packed_ + panel * k * kProductColumns; }

void ColumnPanels::Copy(int64_t begin, int64_t depth, int64_t first, int64_t count, float* out) const {
  for (int64_t column = 0; column < count; column += kProductColumns, out += depth * kProductColumns) {
    const int64_t width = std::min(kProductColumns, count - column);
    const float* from = b_.data + begin * b_.row + (first + column) * b_.column;
    if (width < kProductColumns) std::fill_n(out, depth * kProductColumns, 0.0f);
    if (b_.column == 1) {
      for (int64_t i = 0; i < depth; ++i) std::copy_n(from + i * b_.row, width, out + i * kProductColumns);
      continue;
    }
    for (int64_t i0 = 0; i0 < depth; i0 += 16) {  // sixteen rows at a time: whole cache lines of both sides
      const int64_t i1 = std::min(depth, i0 + 16);
      for (int64_t j = 0; j < width; ++j)
        for (int64_t i = i0; i < i1; ++i) out[i * kProductColumns + j] = from[i * b_.row + j * b_.column];
    }
  }
}

at::Tensor PackPanels(const at::Tensor& weight_NK) {
  const int64_t n = weight_NK.size(0), k = weight_NK.size(1), panels = DivideUp(n, kProductColumns);
  const ColumnPanels columns(Transposed(View(weight_NK)));
  at::Tensor packed = at::empty({panels, k, kProductColumns}, weight_NK.options());
  float* out = packed.mutable_data_ptr<float>();
  at::parallel_for(0, panels, 4, [&](int64_t begin, int64_t end) {
    for (int64_t panel = begin; panel < end; ++panel) {
      const int64_t first = panel * kProductColumns;
      columns.Copy(0, k, first, std::min(kProductColumns, n - first), out + panel * k * kProductColumns);
    }
  });
  return packed;
}

void OrderedProduct(int64_t m, int64_t n, int64_t k, const FloatMatrix& a, const ColumnPanels& b, bool add, float* c) {
  if (m == 0 || n == 0) return;
  if (k == 0 && !add) std::fill_n(c, m * n, 0.0f);
  const int64_t per_thread = DivideUp(DivideUp(n, kProductColumns), at::get_num_threads()) * kProductColumns;
  const int64_t width = std::min(kBlockColumns, per_thread), column_blocks = DivideUp(n, width), row_blocks = DivideUp(m, kBlockRows);
  const int64_t tasks = column_blocks * row_blocks;
  at::parallel_for(0, tasks, m * n * k < kSerialSums ? tasks : 1, [&](int64_t begin, int64_t end) {
    std::vector<float> panels(b.packed() ? 0 : static_cast<size_t>(std::min(k, kProductDepth) * DivideUp(width, 32) * kProductColumns));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t row = task / column_blocks * kBlockRows, column = task % column_blocks * width;
      const int64_t rows = std::min(kBlockRows, m - row), columns = std::min(width, n - column);
      for (int64_t i = 0; i < k; i += kProductDepth) {
        const int64_t depth = std::min(kProductDepth, k - i);
        if (!b.packed()) b.Copy(i, depth, column, columns, panels.data());
        const float* panel = b.packed() ? b.Panel(column / kProductColumns, k) + i * kProductColumns : panels.data();
        GetKernels().product({a.data + row * a.row + i * a.column, a.row, a.column, panel, (b.packed() ? k : depth) * kProductColumns,
                              c + row * n + column, n, rows, columns, depth, add || i > 0});
      }
    }
  });
}

void AddRowsInOrder(const at::Tensor& x_NO, const at::Tensor& sum_O) {
  const int64_t rows = x_NO.size(0), width = x_NO.size(1);
  const float* x = View(x_NO).data;
  float* sum = sum_O.mutable_data_ptr<float>();
  at::parallel_for(0, width, 256, [&](int64_t begin, int64_t end) {
    for (int64_t row = 0; row < rows; ++row)
      for (int64_t i = begin; i < end; ++i) sum[i] += x[row * width + i];
  });
}

}  // namespace candor
