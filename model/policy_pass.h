// One teacher-forced pass of the whole policy over a packed batch, forward and backward, unit by unit. Whoever owns the parameters (whole,
// or sharded over ranks) implements UnitAccess; the pass asks for a unit right before its use and gives it back right after. This is the
// only place that knows the order in which units are needed.
//
//   PolicyPass pass(config, numerics, access, {.recompute = true});
//   auto scores = pass.Forward(batch, extra_ids);             // log_probs_M in the order of batch.targets_M
//   ... loss -> gradients of log_probs_M and selected_ME ...
//   pass.Backward(dlog_probs_M, dselected_ME);                // adds into access.Gradient(unit)
//
// Forward order of units: embedding, layers 0..L-1, final norm, head. Backward: head, final norm, layers L-1..0, embedding. A tied
// embedding is gathered again for the head, and its GradientReady comes once, at the very end.
#pragma once
#include <vector>

#include "model/decoder.h"
#include "model/head.h"

namespace candor {

class UnitAccess {
 public:
  virtual ~UnitAccess() = default;
  // The flat weights of a unit in the pass's number format, at least UnitSpec::Count() elements; valid until Release.
  virtual Result<at::Tensor> Gather(size_t unit) = 0;
  virtual void Release(size_t unit) = 0;
  // Hint: this unit comes next. An implementation may start its all-gather.
  virtual Status Prefetch(size_t unit) {
    (void)unit;
    return {};
  }
  // The flat fp32 tensor that the unit's gradient is added into. Called once per unit and backward, before the unit's first contribution.
  virtual Result<at::Tensor> Gradient(size_t unit) = 0;
  // Every contribution of this backward is in: it may be reduced.
  virtual Status GradientReady(size_t unit) = 0;
};

// Parameters and gradients held whole in this process (sharding "none", tests, tools). `gradients` may be null for forward only.
class WholeAccess : public UnitAccess {
 public:
  WholeAccess(const Parameters& parameters, Parameters* gradients) : parameters_(parameters), gradients_(gradients) {}
  Result<at::Tensor> Gather(size_t unit) override { return parameters_.Flat(unit); }
  void Release(size_t) override {}
  Result<at::Tensor> Gradient(size_t unit) override;
  Status GradientReady(size_t) override { return {}; }

 private:
  const Parameters& parameters_;
  Parameters* gradients_;
};

struct PassOptions {
  bool recompute = false;  // keep only each block's input and run the block again in backward
  bool keep_for_backward = true;
  bool ranks = false;  // fill TokenScores::ranks_M
};

class PolicyPass {
 public:
  PolicyPass(const ModelConfig& config, const Numerics& numerics, UnitAccess& access, PassOptions options = {});
  // Also keeps what Backward needs. It runs where the weights lie; its results come to the host, and so do the gradients that Backward
  // takes: losses are host code, and this is the one place where they meet the device. Library failures (out of memory included) come back
  // as errors.
  Result<TokenScores> Forward(const PackedGroups& batch, const std::vector<int32_t>& extra_ids_E = {});
  // Of the last Forward; undefined gradients are zero. Frees what was kept.
  Status Backward(const at::Tensor& dlog_probs_M, const at::Tensor& dselected_ME = {});
  // Frees what was kept without a backward.
  void Discard();

 private:
  Result<TokenScores> RunForward(const PackedGroups& batch, const std::vector<int32_t>& extra_ids_E);
  Status RunBackward(const at::Tensor& dlog_probs_M, const at::Tensor& dselected_ME);
  Status BackwardHead(const at::Tensor& dlog_probs_M, const at::Tensor& dselected_ME, at::Tensor& head_gradient, at::Tensor& dx_ND);
  Status BackwardBlock(int64_t layer, at::Tensor& dx_ND);

  ModelConfig config_;
  Numerics numerics_;
  UnitAccess& access_;
  PassOptions options_;
  RopeTable rope_;
  PackedGroups batch_;
  std::vector<int32_t> extra_ids_E_;
  std::vector<BlockSaved> saved_L_;
  at::Tensor final_in_MD_, hidden_MD_;
  TokenScores scores_;
};

// log p of every answer token (no gradient): a convenience over the pass for `candor score` and forced scores.
Result<TokenScores> ScoreTokens(const ModelConfig& config, const Parameters& parameters, const Numerics& numerics,
                                const PackedGroups& batch, const std::vector<int32_t>& extra_ids_E = {}, bool ranks = false);

}  // namespace candor
