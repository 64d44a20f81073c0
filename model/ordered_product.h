// The fp32 product of deterministic mode, for engine and learner, forward and backward. Libraries choose their blocking by the number of
// rows, so that a row's bits change with the batch; here every element is summed over k in rising order, in runs of kProductDepth that are
// added in order. So an element depends on its own row of a, its own column of b and k, and on nothing else: not on the number of rows, the
// row's place, or the number of threads. Bits are the same on processors with the same instruction set (kernels.h). CPU only.
#pragma once
#include "model/aten.h"

namespace candor {

// Element (i, j) at data[i * row + j * column].
struct FloatMatrix {
  const float* data = nullptr;
  int64_t row = 0;
  int64_t column = 0;
};
// Of a contiguous fp32 matrix.
FloatMatrix View(const at::Tensor& x);
FloatMatrix Transposed(const FloatMatrix& x);

// Reads b in any layout: each thread puts the part it works on into panels first.
class ColumnPanels {
 public:
  explicit ColumnPanels(const FloatMatrix& b) : b_(b) {}
  // From a tensor that PackPanels made.
  explicit ColumnPanels(const at::Tensor& packed) : packed_(packed.const_data_ptr<float>()) {}
  bool packed() const { return packed_ != nullptr; }
  const float* Panel(int64_t panel, int64_t k) const;
  // Rows [begin, begin + depth) of columns [first, first + count), zero beyond them, as panels [depth, 32].
  void Copy(int64_t begin, int64_t depth, int64_t first, int64_t count, float* out) const;

 private:
  FloatMatrix b_;
  const float* packed_ = nullptr;
};
// W [N, K] as the panels of Wᵀ: [ceil(N / 32), K, 32].
at::Tensor PackPanels(const at::Tensor& weight_NK);

// c [m, n] (contiguous) = a b, or += with `add`.
void OrderedProduct(int64_t m, int64_t n, int64_t k, const FloatMatrix& a, const ColumnPanels& b, bool add, float* c);
// sum_O += the rows of x [N, O], in their order.
void AddRowsInOrder(const at::Tensor& x_NO, const at::Tensor& sum_O);

}  // namespace candor
