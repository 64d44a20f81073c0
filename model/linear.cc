// Products: oneDNN through ATen (bf16 with bf16 results, packed or not), bf16 x bf16 -> fp32 (exact sums kept: residual stream, gradients
// of weights, logits; model/float_product.h), MKL's fp32 product, our own with packed weights. Deterministic mode has an order of its own.
#include "model/linear.h"

#include <ATen/core/dispatch/Dispatcher.h>

#include <string_view>

#include "core/check.h"
#include "core/rng.h"
#include "model/float_product.h"
#include "model/kernels/kernels.h"
#include "model/large_pages.h"
#include "model/ordered_product.h"
#include "model/packed_linear.h"
#include "model/parallel.h"
#include "model/portable/portable.h"

namespace candor {
namespace {

using PackFn = at::Tensor(const at::Tensor&, std::optional<int64_t>);
using PackedLinearFn = at::Tensor(const at::Tensor&, const at::Tensor&, const std::optional<at::Tensor>&, std::string_view,
                                  c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);

std::optional<at::Tensor> OptionalBias(const Linear& linear) {
  return linear.bias_O.defined() ? std::optional<at::Tensor>(linear.bias_O) : std::nullopt;
}

bool IsBf16(const at::Tensor& x) { return x.scalar_type() == at::kBFloat16; }

// out [N, O] = x Wᵀ, or += with `add`, in the order that deterministic mode promises.
void OrderedApply(const Linear& linear, const at::Tensor& x_NI, bool add, const at::Tensor& out_NO) {
  CANDOR_CHECK(out_NO.is_contiguous() && out_NO.scalar_type() == at::kFloat);
  const ColumnPanels panels = linear.packed.defined() ? ColumnPanels(linear.packed) : ColumnPanels(Transposed(View(linear.weight_OI)));
  OrderedProduct(x_NI.size(0), linear.weight_OI.size(0), x_NI.size(1), View(x_NI), panels, add, out_NO.mutable_data_ptr<float>());
}

bool Ordered(const at::Tensor& x, const Numerics& numerics) { return numerics.deterministic && x.is_cpu(); }

// Whether fp32 weights are packed outside deterministic mode too: MKL lays them out anew for each product, a fifth of the time of a step of
// 64 rows, and its own sums are no faster there.
bool PacksFloats() {
  static const bool packs = std::string_view(GetKernels().instruction_set) == "avx2";
  return packs;
}
// Whether oneDNN packs bf16 weights: it refuses to where the processor lacks these instructions.
bool PacksHalves() {
  static const bool packs = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
  return packs;
}
// By panels that are there, or because the order of sums is promised.
bool ByPanels(const Linear& linear, const at::Tensor& x, const Numerics& numerics) {
  return Ordered(x, numerics) || (linear.packed.defined() && x.scalar_type() == at::kFloat);
}

}  // namespace

void PackLinear(Linear& linear, int64_t rows, const Numerics& numerics) {
  if (!linear.weight_OI.is_cpu()) return;
  if (!IsBf16(linear.weight_OI)) {
    if (numerics.deterministic || PacksFloats()) linear.packed = PackPanels(linear.weight_OI);
    return;
  }
  if (!PacksHalves()) return;
  static const auto pack = c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_reorder_linear_weight", "").typed<PackFn>();
  linear.packed = pack.call(linear.weight_OI, rows);
}

Linear ForChunks(const Linear& linear, bool products, bool gradients) {
  Linear ready = linear;
  if (!linear.weight_OI.is_cpu() || !IsBf16(linear.weight_OI)) return ready;
  if (products && !ready.tiles.defined()) ready.tiles = RightPanels(linear.weight_OI, FactorForm::kRightTransposed);
  if (gradients) ready.columns = RightPanels(linear.weight_OI, FactorForm::kPlain);
  return ready;
}

at::Tensor Apply(const Linear& linear, const at::Tensor& x_NI, const Numerics& numerics) {
  if (x_NI.size(0) == 0) return at::empty({0, linear.weight_OI.size(0)}, x_NI.options());
  if (ByPanels(linear, x_NI, numerics)) {
    at::Tensor y_NO = at::empty({x_NI.size(0), linear.weight_OI.size(0)}, x_NI.options());
    OrderedApply(linear, x_NI, false, y_NO);
    return linear.bias_O.defined() ? y_NO.add_(linear.bias_O) : y_NO;
  }
  if (linear.tiles.defined()) {
    at::Tensor y_NO = at::empty({x_NI.size(0), linear.weight_OI.size(0)}, x_NI.options());
    TileApply(linear, x_NI, TileOutput::kBf16, y_NO);
    return y_NO;
  }
  if (linear.packed.defined()) {
    static const auto product = c10::Dispatcher::singleton().findSchemaOrThrow("mkldnn::_linear_pointwise", "").typed<PackedLinearFn>();
    return product.call(x_NI, linear.packed, OptionalBias(linear), "none", c10::List<std::optional<at::Scalar>>(), "");
  }
  return at::linear(x_NI, linear.weight_OI, OptionalBias(linear));
}

void ApplyAdd(const Linear& linear, const at::Tensor& x_NI, const at::Tensor& residual_NO, const Numerics& numerics) {
  const int64_t rows = x_NI.size(0);
  if (rows == 0) return;
  if (!x_NI.is_cpu()) return portable::ApplyAdd(linear, x_NI, residual_NO);
  if (ByPanels(linear, x_NI, numerics)) {
    OrderedApply(linear, x_NI, true, residual_NO);
    if (linear.bias_O.defined()) residual_NO.add_(linear.bias_O);
    return;
  }
  if (linear.tiles.defined()) return TileApply(linear, x_NI, TileOutput::kAddFloat, residual_NO);
  if (IsBf16(x_NI) && !linear.packed.defined()) {
    ProductToFloat(x_NI, linear.weight_OI, FactorForm::kRightTransposed, true, residual_NO);
    if (linear.bias_O.defined()) residual_NO.add_(linear.bias_O);
    return;
  }
  const at::Tensor y = Apply(linear, x_NI, numerics);
  const TypedKernels& kernels = IsBf16(y) ? GetKernels().bf16 : GetKernels().fp32;
  const int64_t width = y.size(1), bytes = y.element_size();
  ParallelRows(rows, width, [&](int64_t begin, int64_t end) {
    kernels.add_to_float(static_cast<const char*>(y.const_data_ptr()) + begin * width * bytes,
                         residual_NO.mutable_data_ptr<float>() + begin * width, (end - begin) * width);
  });
}

void ApplyToFloat(const Linear& linear, const at::Tensor& x_NI, const at::Tensor& out_NO, const Numerics& numerics) {
  const int64_t rows = x_NI.size(0);
  if (rows == 0) return;
  if (!x_NI.is_cpu()) return portable::ApplyToFloat(linear, x_NI, out_NO);
  if (linear.tiles.defined()) return TileApply(linear, x_NI, TileOutput::kFloat, out_NO);
  at::Tensor out = out_NO;
  if (ByPanels(linear, x_NI, numerics))
    OrderedApply(linear, x_NI, false, out);
  else if (IsBf16(x_NI))
    ProductToFloat(x_NI, linear.weight_OI, FactorForm::kRightTransposed, false, out);
  else
    at::mm_out(out, x_NI, linear.weight_OI.t());
  if (linear.bias_O.defined()) out.add_(linear.bias_O);
}

at::Tensor ApplySwiGlu(const Linear& gate_up, const at::Tensor& x_NI, at::Tensor* gate_up_NX) {
  const int64_t rows = x_NI.size(0), columns = gate_up.weight_OI.size(0);
  at::Tensor out_NF = at::empty({rows, columns / 2}, x_NI.options());
  if (gate_up_NX) *gate_up_NX = at::empty({rows, columns}, x_NI.options());
  TileApply(gate_up, x_NI, TileOutput::kSwiGlu, out_NF, gate_up_NX ? static_cast<uint16_t*>(gate_up_NX->mutable_data_ptr()) : nullptr);
  return out_NF;
}

Linear ForSwiGlu(const Linear& gate_up, const Numerics& numerics) {
  Linear ready = gate_up;
  if (ready.tiles.defined() || numerics.deterministic || !CanPackSwiGlu(ready) || !GetTileKernels()->pack_columns) return ready;
  PackTiles(ready, true, Room(TileElements(ready)));
  return ready;
}

static at::Tensor OrderedInputGradient(const Linear& linear, const at::Tensor& dy_NO) {
  at::Tensor dx_NI = at::empty({dy_NO.size(0), linear.weight_OI.size(1)}, dy_NO.options());
  OrderedProduct(dy_NO.size(0), dx_NI.size(1), dy_NO.size(1), View(dy_NO), ColumnPanels(View(linear.weight_OI)), false,
                 dx_NI.mutable_data_ptr<float>());
  return dx_NI;
}

at::Tensor InputGradient(const Linear& linear, const at::Tensor& dy_NO, const Numerics& numerics) {
  return Ordered(dy_NO, numerics) ? OrderedInputGradient(linear, dy_NO) : at::mm(dy_NO, linear.weight_OI);
}

at::Tensor InputGradientFloat(const Linear& linear, const at::Tensor& dy_NO, const Numerics& numerics) {
  if (!dy_NO.is_cpu()) return portable::InputGradientFloat(linear, dy_NO);
  if (Ordered(dy_NO, numerics)) return OrderedInputGradient(linear, dy_NO);
  if (!IsBf16(dy_NO)) return at::mm(dy_NO, linear.weight_OI);
  at::Tensor dx_NI = at::empty({dy_NO.size(0), linear.weight_OI.size(1)}, dy_NO.options().dtype(at::kFloat));
  if (dy_NO.size(0) == 0) return dx_NI;
  if (linear.columns.defined())
    PanelProductToFloat(dy_NO, linear.columns, false, dx_NI);
  else
    ProductToFloat(dy_NO, linear.weight_OI, FactorForm::kPlain, false, dx_NI);
  return dx_NI;
}

void AddWeightGradient(const at::Tensor& x_NI, const at::Tensor& dy_NO, const Linear& grad, const Numerics& numerics) {
  if (dy_NO.size(0) == 0) return;
  if (!dy_NO.is_cpu()) return portable::AddWeightGradient(x_NI, dy_NO, grad);
  CANDOR_CHECK(grad.weight_OI.scalar_type() == at::kFloat && grad.weight_OI.is_contiguous(), "gradients of weights are fp32");
  at::Tensor weight = grad.weight_OI, bias = grad.bias_O;
  if (Ordered(dy_NO, numerics)) {
    OrderedProduct(dy_NO.size(1), x_NI.size(1), dy_NO.size(0), Transposed(View(dy_NO)), ColumnPanels(View(x_NI)), true,
                   weight.mutable_data_ptr<float>());
    if (bias.defined()) AddRowsInOrder(dy_NO, bias);
    return;
  }
  if (IsBf16(dy_NO))
    ProductToFloat(dy_NO, x_NI, FactorForm::kLeftTransposed, true, weight);
  else
    weight.addmm_(dy_NO.t(), x_NI);
  if (bias.defined()) bias.add_(at::sum(dy_NO, 0, false, at::kFloat));
}

// One shape: rows of every smaller batch must equal the rows of the largest one.
static bool RowsAgree(int64_t in, int64_t out) {
  const Numerics numerics{DType::kFp32, true};
  constexpr int64_t kRows = 200;
  const auto fill = [](int64_t rows, int64_t columns, uint64_t stream) {
    at::Tensor x = at::empty({rows, columns}, at::kFloat);
    float* p = x.mutable_data_ptr<float>();
    for (int64_t i = 0; i < rows * columns; ++i) p[i] = static_cast<float>(ToUnit(SplitMix64(static_cast<uint64_t>(i) * 4 + stream)) - 0.5);
    return x;
  };
  const at::Tensor x_NI = fill(kRows, in, 1);
  const Linear linear{fill(out, in, 2), {}, {}};
  const at::Tensor all_NO = Apply(linear, x_NI, numerics);
  at::Tensor direct_NO = at::empty({kRows, out}, at::kFloat);
  ApplyToFloat(linear, x_NI, direct_NO, numerics);
  if (!at::equal(all_NO, direct_NO)) return false;
  for (int64_t rows : {1, 2, 3, 7, 8, 9, 15, 16, 17, 31, 33, 64, 65, 100, 128, 160}) {
    for (int64_t first : {int64_t{0}, kRows - rows}) {
      if (!at::equal(Apply(linear, x_NI.narrow(0, first, rows).contiguous(), numerics), all_NO.narrow(0, first, rows))) return false;
    }
  }
  return true;
}

bool SelfTestRowInvariance(int64_t hidden_size, int64_t intermediate_size, int64_t vocab_size) {
  at::NoGradGuard no_grad;
  return RowsAgree(hidden_size, hidden_size) && RowsAgree(hidden_size, 2 * intermediate_size) &&
         RowsAgree(intermediate_size, hidden_size) && RowsAgree(hidden_size, std::min<int64_t>(vocab_size, 8192));
}

}  // namespace candor
