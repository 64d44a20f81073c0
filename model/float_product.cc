// Lays factors out as panels and spreads the products over threads.
#include "model/float_product.h"

#include "core/check.h"
#include "model/kernels/tile_product.h"
#include "model/large_pages.h"

extern "C" void cblas_gemm_bf16bf16f32(int layout, int trans_a, int trans_b, int m, int n, int k, float alpha, const void* a, int lda,
                                       const void* b, int ldb, float beta, float* c, int ldc);

namespace candor {
namespace {

constexpr int kRowMajor = 101, kNoTranspose = 111, kTranspose = 112;

int64_t RoundedUp(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

const uint16_t* Words(const at::Tensor& x) { return static_cast<const uint16_t*>(x.const_data_ptr()); }

// Panels of the columns of b [k, n], k filled up with zeros.
at::Tensor ColumnsPacked(const TileKernels& kernels, const at::Tensor& b_KN) {
  const int64_t k = b_KN.size(0), n = b_KN.size(1), size = RoundedUp(k, kTileDepth) * kTileColumns;
  const at::Tensor panels = Room(PanelCount(n) * size);
  auto* to = static_cast<uint16_t*>(panels.mutable_data_ptr());
  at::parallel_for(0, PanelCount(n), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p)
      kernels.pack_columns(Words(b_KN) + p * kTileColumns, n, k, std::min(kTileColumns, n - p * kTileColumns), to + p * size);
  });
  return panels;
}

// Panels of the rows of w [n, k]: of its transpose's columns.
at::Tensor RowsPacked(const TileKernels& kernels, const at::Tensor& w_NK) {
  const int64_t n = w_NK.size(0), k = w_NK.size(1);
  const at::Tensor panels = Room(PanelCount(n) * kTileColumns * k);
  auto* to = static_cast<uint16_t*>(panels.mutable_data_ptr());
  at::parallel_for(0, PanelCount(n), 1, [&](int64_t begin, int64_t end) {
    for (int64_t p = begin; p < end; ++p) {
      const uint16_t* rows[kTileColumns] = {};
      for (int64_t i = 0; i < kTileColumns && p * kTileColumns + i < n; ++i) rows[i] = Words(w_NK) + (p * kTileColumns + i) * k;
      kernels.pack(rows, k, to + p * kTileColumns * k);
    }
  });
  return panels;
}

void LeftTransposed(const TileKernels& kernels, const at::Tensor& a_KM, const at::Tensor& b_KN, float* c, int64_t n) {
  const int64_t m = a_KM.size(1), rows = a_KM.size(0), k = RoundedUp(rows, kTileDepth), size = k * kTileColumns;
  const at::Tensor b = ColumnsPacked(kernels, b_KN);
  at::parallel_for(0, PanelCount(m), 1, [&](int64_t begin, int64_t end) {
    const at::Tensor panel_of_a = at::empty({size}, at::kBFloat16);
    auto* left_panel = static_cast<uint16_t*>(panel_of_a.mutable_data_ptr());
    for (int64_t left = begin; left < end; ++left) {  // one panel of a, laid out when its turn comes, stays near while b's go by
      const int64_t row = left * kTileColumns, height = std::min(kTileColumns, m - row);
      kernels.pack_columns(Words(a_KM) + row, m, rows, height, left_panel);
      for (int64_t right = 0; right < PanelCount(n); ++right) {
        const int64_t column = right * kTileColumns;
        const uint16_t *panel = Words(b) + right * size, *next = right + 1 < PanelCount(n) ? panel + size : Words(b);
        kernels.add_transposed(left_panel, panel, k, height, std::min(kTileColumns, n - column), c + row * n + column, n, next);
      }
    }
  });
}

}  // namespace

bool CanTileProductToFloat(const at::Tensor& a, FactorForm form) {
  const TileKernels* kernels = GetTileKernels();
  return kernels && kernels->pack_columns && (form == FactorForm::kLeftTransposed || a.size(1) % kTileDepth == 0);
}

void TileProductToFloat(const at::Tensor& a, const at::Tensor& b, FactorForm form, bool add, const at::Tensor& c_MN) {
  const TileKernels& kernels = *GetTileKernels();
  if (form == FactorForm::kLeftTransposed) {
    if (!add) at::Tensor(c_MN).zero_();
    return LeftTransposed(kernels, a, b, c_MN.mutable_data_ptr<float>(), c_MN.size(1));
  }
  PanelProductToFloat(a, form == FactorForm::kPlain ? ColumnsPacked(kernels, b) : RowsPacked(kernels, b), add, c_MN);
}

at::Tensor RightPanels(const at::Tensor& b, FactorForm form) {
  CANDOR_CHECK(form != FactorForm::kLeftTransposed && b.is_contiguous() && b.scalar_type() == at::kBFloat16);
  const TileKernels* kernels = GetTileKernels();
  if (!kernels || !kernels->pack_columns || b.size(form == FactorForm::kPlain ? 0 : 1) % kTileDepth != 0) return {};
  return form == FactorForm::kPlain ? ColumnsPacked(*kernels, b) : RowsPacked(*kernels, b);
}

void PanelProductToFloat(const at::Tensor& a, const at::Tensor& panels, bool add, const at::Tensor& c_MN) {
  const int64_t m = c_MN.size(0), n = c_MN.size(1), k = a.size(1);
  CANDOR_CHECK(a.is_contiguous() && c_MN.is_contiguous() && a.size(0) == m && panels.numel() == PanelCount(n) * kTileColumns * k);
  TileProduct product{Words(a),
                      k,
                      m,
                      k,
                      Words(panels),
                      0,
                      0,
                      n,
                      nullptr,
                      add ? TileOutput::kAddFloat : TileOutput::kFloat,
                      c_MN.mutable_data_ptr<float>(),
                      n,
                      nullptr,
                      nullptr};
  at::parallel_for(0, PanelCount(n), 1, [&](int64_t begin, int64_t end) {
    TileProduct part = product;
    part.first_panel = begin, part.last_panel = end;
    GetTileKernels()->product(part);
  });
}

void LibraryProductToFloat(const at::Tensor& a, const at::Tensor& b, FactorForm form, bool add, const at::Tensor& c_MN) {
  const bool left = form == FactorForm::kLeftTransposed, right = form == FactorForm::kRightTransposed;
  const int64_t m = c_MN.size(0), n = c_MN.size(1), k = left ? a.size(0) : a.size(1);
  cblas_gemm_bf16bf16f32(kRowMajor, left ? kTranspose : kNoTranspose, right ? kTranspose : kNoTranspose, static_cast<int>(m),
                         static_cast<int>(n), static_cast<int>(k), 1.0f, a.const_data_ptr(), static_cast<int>(a.size(1)),
                         b.const_data_ptr(), static_cast<int>(b.size(1)), add ? 1.0f : 0.0f, c_MN.mutable_data_ptr<float>(),
                         static_cast<int>(n));
}

void ProductToFloat(const at::Tensor& a, const at::Tensor& b, FactorForm form, bool add, const at::Tensor& c_MN) {
  CANDOR_CHECK(a.is_contiguous() && b.is_contiguous() && c_MN.is_contiguous() && c_MN.scalar_type() == at::kFloat);
  CANDOR_CHECK(a.scalar_type() == at::kBFloat16 && b.scalar_type() == at::kBFloat16);
  if (CanTileProductToFloat(a, form)) return TileProductToFloat(a, b, form, add, c_MN);
  LibraryProductToFloat(a, b, form, add, c_MN);
}

}  // namespace candor
