// bf16 x bf16 -> fp32 products of matrices on the CPU, sums kept exact: MKL's, or our own where MKL would widen everything to fp32 first
// (AMD).
#pragma once
#include "model/aten.h"

namespace candor {

enum class FactorForm : uint8_t {
  kPlain,            // c [m, n] = a [m, k] b [k, n]
  kRightTransposed,  // c [m, n] = a [m, k] b [n, k]ᵀ
  kLeftTransposed    // c [m, n] = a [k, m]ᵀ b [k, n]
};

// c = the product, or += with `add`. a and b bf16, c fp32, all contiguous; k at least 1. Any thread; spreads over ATen's.
void ProductToFloat(const at::Tensor& a, const at::Tensor& b, FactorForm form, bool add, const at::Tensor& c_MN);

// The same by MKL, and by our own kernels, which need a unit with pack_columns and, but for kLeftTransposed, k in multiples of kTileDepth
// (for tests and for the choice above).
void LibraryProductToFloat(const at::Tensor& a, const at::Tensor& b, FactorForm form, bool add, const at::Tensor& c_MN);
bool CanTileProductToFloat(const at::Tensor& a, FactorForm form);
void TileProductToFloat(const at::Tensor& a, const at::Tensor& b, FactorForm form, bool add, const at::Tensor& c_MN);

// For several products with the same right factor (kPlain or kRightTransposed): its panels, laid out once; undefined where ProductToFloat
// would not lay it out. Those of kRightTransposed are a Linear's tiles.
at::Tensor RightPanels(const at::Tensor& b, FactorForm form);
// c [m, n] = a [m, k] times the factor whose panels these are, or += with `add`.
void PanelProductToFloat(const at::Tensor& a, const at::Tensor& panels, bool add, const at::Tensor& c_MN);

}  // namespace candor
