// The order in which a pass uses units. A batch without rows, or without a gradient, still gathers, releases and announces every unit, so
// that ranks stay in step.
#include "model/policy_pass.h"

#include "core/check.h"
#include "model/device.h"
#include "model/guarded.h"
#include "model/portable/portable.h"

namespace candor {
namespace {

// Gathers a unit for the time of a scope.
class Gathered {
 public:
  static Result<Gathered> Take(UnitAccess& access, size_t unit) {
    CANDOR_ASSIGN(at::Tensor flat, access.Gather(unit));
    return Gathered(access, unit, std::move(flat));
  }
  Gathered(Gathered&& other) noexcept : access_(std::exchange(other.access_, nullptr)), unit_(other.unit_), flat_(std::move(other.flat_)) {}
  Gathered& operator=(Gathered&&) = delete;
  ~Gathered() {
    flat_.reset();
    if (access_) access_->Release(unit_);
  }
  const at::Tensor& flat() const { return flat_; }

 private:
  Gathered(UnitAccess& access, size_t unit, at::Tensor flat) : access_(&access), unit_(unit), flat_(std::move(flat)) {}
  UnitAccess* access_;
  size_t unit_;
  at::Tensor flat_;
};

// dx_ND[rows_M[m]] += d_MD[m]: threads share columns, so the order of sums is the batch's.
void AddRows(const at::Tensor& d_MD, const std::vector<int64_t>& rows_M, const at::Tensor& dx_ND) {
  if (!d_MD.is_cpu()) return portable::AddRowsInto(d_MD, ToDevice(rows_M, d_MD.device()), dx_ND);
  const int64_t width = d_MD.size(1);
  const float* from = d_MD.const_data_ptr<float>();
  float* to = dx_ND.mutable_data_ptr<float>();
  at::parallel_for(0, width, 64, [&](int64_t begin, int64_t end) {
    for (size_t m = 0; m < rows_M.size(); ++m)
      for (int64_t i = begin; i < end; ++i) to[rows_M[m] * width + i] += from[static_cast<int64_t>(m) * width + i];
  });
}

at::Tensor SelectRows(const at::Tensor& x_ND, const std::vector<int64_t>& rows_M) {
  return x_ND.index_select(0, ToDevice(rows_M, x_ND.device()));
}

constexpr const char* kMemoryFix = "if memory ran out, use smaller micro-batches or recompute = true";

// What leaves the pass: losses are host code.
TokenScores OnHost(const TokenScores& scores) {
  return {scores.log_probs_M.cpu(), scores.entropy_M.cpu(), scores.log_sum_exp_M.cpu(),
          scores.selected_ME.defined() ? scores.selected_ME.cpu() : at::Tensor(),
          scores.ranks_M.defined() ? scores.ranks_M.cpu() : at::Tensor()};
}

bool AllZero(const at::Tensor& x) { return !x.defined() || x.numel() == 0 || !at::any(x != 0).item<bool>(); }

}  // namespace

Result<at::Tensor> WholeAccess::Gradient(size_t unit) {
  CANDOR_CHECK(gradients_ != nullptr, "this access was made for forward passes only");
  return gradients_->Flat(unit);
}

PolicyPass::PolicyPass(const ModelConfig& config, const Numerics& numerics, UnitAccess& access, PassOptions options)
    : config_(config), numerics_(numerics), access_(access), options_(options), rope_(config) {}

void PolicyPass::Discard() {
  batch_ = {};
  saved_L_.clear();
  final_in_MD_ = hidden_MD_ = at::Tensor();
  scores_ = {};
}

Result<TokenScores> PolicyPass::Forward(const PackedGroups& batch, const std::vector<int32_t>& extra_ids_E) {
  return Guarded("the forward pass", kMemoryFix, [&] { return RunForward(batch, extra_ids_E); });
}

Status PolicyPass::Backward(const at::Tensor& dlog_probs_M, const at::Tensor& dselected_ME) {
  return Guarded("the backward pass", kMemoryFix, [&] { return RunBackward(dlog_probs_M, dselected_ME); });
}

Result<TokenScores> PolicyPass::RunForward(const PackedGroups& batch, const std::vector<int32_t>& extra_ids_E) {
  Discard();
  const size_t layers = static_cast<size_t>(config_.num_layers);
  at::Tensor x_ND;
  {
    CANDOR_ASSIGN(const Gathered unit, Gathered::Take(access_, EmbeddingUnit()));
    CANDOR_TRY(access_.Prefetch(BlockUnit(0)));
    x_ND = Embed(BindEmbedding(config_, unit.flat()), batch.ids_N);
  }
  if (options_.keep_for_backward) saved_L_.resize(layers);
  for (size_t layer = 0; layer < layers; ++layer) {
    CANDOR_ASSIGN(const Gathered unit, Gathered::Take(access_, BlockUnit(static_cast<int64_t>(layer))));
    CANDOR_TRY(access_.Prefetch(layer + 1 < layers ? BlockUnit(static_cast<int64_t>(layer) + 1) : FinalNormUnit(config_)));
    if (batch.rows() == 0) continue;
    const BlockWeights weights = BindBlock(config_, static_cast<int64_t>(layer), unit.flat());
    const bool keep_all = options_.keep_for_backward && !options_.recompute;
    if (options_.keep_for_backward) saved_L_[layer].input_ND = x_ND;
    x_ND = BlockForward(config_, weights, x_ND, rope_, batch, numerics_, keep_all ? &saved_L_[layer] : nullptr);
  }
  const at::Tensor final_in_MD = SelectRows(x_ND, batch.predict_rows_M);
  at::Tensor hidden_MD;
  {
    CANDOR_ASSIGN(const Gathered unit, Gathered::Take(access_, FinalNormUnit(config_)));
    CANDOR_TRY(access_.Prefetch(HeadUnit(config_)));
    hidden_MD = FinalNorm(config_, BindFinalNorm(config_, unit.flat()), final_in_MD);
  }
  CANDOR_ASSIGN(const Gathered unit, Gathered::Take(access_, HeadUnit(config_)));
  TokenScores scores = ComputeTokenLogProbs(BindHead(config_, unit.flat()), hidden_MD, batch.targets_M, extra_ids_E, numerics_,
                                            options_.keep_for_backward ? kHeadKeepBytes : 0, options_.ranks);
  if (options_.keep_for_backward) {
    batch_ = batch;
    extra_ids_E_ = extra_ids_E;
    final_in_MD_ = final_in_MD;
    hidden_MD_ = hidden_MD;
    scores_ = scores;
  }
  return OnHost(scores);
}

// Head and final norm: the gradient of the last block's output.
Status PolicyPass::BackwardHead(const at::Tensor& dlog_probs_M, const at::Tensor& dselected_ME, at::Tensor& head_gradient,
                                at::Tensor& dx_ND) {
  const bool active = !AllZero(dlog_probs_M) || !AllZero(dselected_ME);
  at::Tensor dhidden_MD;
  {
    CANDOR_ASSIGN(const Gathered unit, Gathered::Take(access_, HeadUnit(config_)));
    CANDOR_TRY(access_.Prefetch(FinalNormUnit(config_)));
    CANDOR_ASSIGN(head_gradient, access_.Gradient(HeadUnit(config_)));
    if (active) {
      dhidden_MD = TokenLogProbsBackward(BindHead(config_, unit.flat()), hidden_MD_, batch_.targets_M, extra_ids_E_, scores_, dlog_probs_M,
                                         dselected_ME, BindHead(config_, head_gradient), numerics_);
      scores_.kept_KV = at::Tensor();
    }
  }
  if (!config_.tie_embeddings) CANDOR_TRY(access_.GradientReady(HeadUnit(config_)));
  {
    CANDOR_ASSIGN(const Gathered unit, Gathered::Take(access_, FinalNormUnit(config_)));
    CANDOR_TRY(access_.Prefetch(BlockUnit(config_.num_layers - 1)));
    CANDOR_ASSIGN(const at::Tensor gradient, access_.Gradient(FinalNormUnit(config_)));
    if (active) {
      const at::Tensor dfinal_MD =
          FinalNormBackward(config_, BindFinalNorm(config_, unit.flat()), final_in_MD_, dhidden_MD, BindFinalNorm(config_, gradient));
      dx_ND = at::zeros({batch_.rows(), config_.hidden_size}, dfinal_MD.options());
      AddRows(dfinal_MD, batch_.predict_rows_M, dx_ND);
    }
  }
  return access_.GradientReady(FinalNormUnit(config_));
}

Status PolicyPass::BackwardBlock(int64_t layer, at::Tensor& dx_ND) {
  CANDOR_ASSIGN(const Gathered unit, Gathered::Take(access_, BlockUnit(layer)));
  CANDOR_TRY(access_.Prefetch(layer > 0 ? BlockUnit(layer - 1) : EmbeddingUnit()));
  CANDOR_ASSIGN(const at::Tensor gradient, access_.Gradient(BlockUnit(layer)));
  BlockSaved saved = std::move(saved_L_[static_cast<size_t>(layer)]);
  saved_L_[static_cast<size_t>(layer)] = {};
  if (dx_ND.defined()) {
    const BlockWeights weights = BindBlock(config_, layer, unit.flat());
    if (options_.recompute) {
      const at::Tensor input_ND = saved.input_ND;
      BlockForward(config_, weights, input_ND, rope_, batch_, numerics_, &saved);
    }
    dx_ND = BlockBackward(config_, weights, dx_ND, rope_, batch_, numerics_, saved, BindBlock(config_, layer, gradient));
  }
  return access_.GradientReady(BlockUnit(layer));
}

Status PolicyPass::RunBackward(const at::Tensor& dlog_probs_M, const at::Tensor& dselected_ME) {
  CANDOR_CHECK(options_.keep_for_backward && static_cast<int64_t>(saved_L_.size()) == config_.num_layers, "Backward follows one Forward");
  at::Tensor head_gradient, dx_ND;  // dx stays undefined where nothing flows back
  CANDOR_TRY(BackwardHead(dlog_probs_M, dselected_ME, head_gradient, dx_ND));
  for (int64_t layer = config_.num_layers - 1; layer >= 0; --layer) CANDOR_TRY(BackwardBlock(layer, dx_ND));
  at::Tensor gradient = head_gradient;
  if (!config_.tie_embeddings) {
    CANDOR_ASSIGN(gradient, access_.Gradient(EmbeddingUnit()));
  }
  if (dx_ND.defined()) EmbedBackward(dx_ND, batch_.ids_N, BindEmbedding(config_, gradient));
  Discard();
  return access_.GradientReady(EmbeddingUnit());
}

Result<TokenScores> ScoreTokens(const ModelConfig& config, const Parameters& parameters, const Numerics& numerics,
                                const PackedGroups& batch, const std::vector<int32_t>& extra_ids_E, bool ranks) {
  WholeAccess access(parameters, nullptr);
  PassOptions options;
  options.keep_for_backward = false, options.ranks = ranks;
  PolicyPass pass(config, numerics, access, options);
  return pass.Forward(batch, extra_ids_E);
}

}  // namespace candor
