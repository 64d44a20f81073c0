// The one decoder that engine and learner share: embedding, blocks, final norm. Pure functions of (weights, input); weights are views of a
// unit's flat tensor (units.h), so a caller can gather one block's weights, run it and free them, forward or backward, and run it again to
// recompute. Legend: N tokens of the batch (flat, no padding), D hidden, F intermediate, H heads, K kv heads, d head size, V vocabulary.
// The residual stream x_ND is always fp32; what goes into products is in the policy's format. FinalNorm's result is in the policy's format,
// its gradient fp32. Backward is written by hand, not recorded by autograd: BlockForward keeps what BlockBackward needs in BlockSaved;
// gradients of weights are added, in fp32, into the same struct of views bound over a flat fp32 gradient. Threads: one caller; work inside
// is parallel.
#pragma once
#include <functional>
#include <vector>

#include "model/attention.h"
#include "model/config.h"
#include "model/linear.h"
#include "model/parameters.h"
#include "model/portable/portable.h"

namespace candor {

// cos and sin of every position, fp32 [positions, d / 2]. Grows when a position beyond its end is asked for (not while another thread
// reads).
class RopeTable {
 public:
  explicit RopeTable(const ModelConfig& config);
  void Reserve(int64_t positions);
  // The rows of these positions on a device, kept until others are asked for, so that all layers of a pass share them.
  const portable::Angles& RowsOn(const at::Device& device, const std::vector<int32_t>& positions_N);
  const float* cos() const { return cos_.data(); }
  const float* sin() const { return sin_.data(); }
  int64_t positions() const { return positions_; }

 private:
  std::vector<float> inverse_frequency_;
  std::vector<float> cos_, sin_;
  int64_t positions_ = 0;
  at::Tensor device_cos_, device_sin_;  // the tables on the last device asked for
  std::vector<int32_t> rows_positions_N_;
  portable::Angles rows_;
};

struct BlockWeights {
  int64_t layer = 0;
  at::Tensor attention_norm_D;
  Linear qkv;                     // [(H + 2K) d, D]: rows of q, k, v
  at::Tensor q_norm_d, k_norm_d;  // undefined unless the family normalises q and k
  Linear out;                     // [D, H d]
  at::Tensor mlp_norm_D;
  Linear gate_up;  // [2F, D]: rows of gate, then of up
  Linear down;     // [D, F]
};

// Views over the flat tensor of unit BlockUnit(layer): weights, or gradients when the flat tensor holds gradients. The tensor may be longer
// than the unit (padding at the end).
BlockWeights BindBlock(const ModelConfig& config, int64_t layer, const at::Tensor& flat);
at::Tensor BindEmbedding(const ModelConfig& config, const at::Tensor& flat);  // [V, D] of unit 0
at::Tensor BindFinalNorm(const ModelConfig& config, const at::Tensor& flat);  // [D]
Linear BindHead(const ModelConfig& config, const at::Tensor& flat);           // [V, D] of unit HeadUnit(config)

// A whole policy bound at once (engine, tools). `pack_rows` > 0 packs the products for about that many rows.
struct DecoderWeights {
  at::Tensor embedding_VD;
  std::vector<BlockWeights> blocks_L;
  at::Tensor final_norm_D;
  Linear head;
};
DecoderWeights BindDecoder(const ModelConfig& config, const Parameters& parameters, const Numerics& numerics, int64_t pack_rows = 0);

// The caller's attention: stores k and v where it keeps them and returns [N, H, d] for the queries; q and k come with rotary positions
// applied.
using Attend = std::function<at::Tensor(int64_t layer, const at::Tensor& q_NHd, const at::Tensor& k_NKd, const at::Tensor& v_NKd)>;

at::Tensor Embed(const at::Tensor& embedding_VD, const std::vector<int32_t>& ids_N);
void EmbedBackward(const at::Tensor& dx_ND, const std::vector<int32_t>& ids_N, const at::Tensor& grad_embedding_VD);

// What BlockBackward needs of one forward.
struct BlockSaved {
  at::Tensor input_ND, attention_rstd_N, attention_in_ND;
  at::Tensor qkv_NX;  // only with q/k norms: the product before them
  at::Tensor q_NHd, k_NKd, v_NKd, attention_NHd;
  AttentionSaved attention;
  at::Tensor middle_ND, mlp_rstd_N, mlp_in_ND;  // middle: after the attention's residual
  at::Tensor gate_up_NX, activated_NF;
};

// One decoder block for inference: x [N, D] -> [N, D], in x's own memory.
at::Tensor Block(const ModelConfig& config, const BlockWeights& weights, const at::Tensor& x_ND, RopeTable& rope,
                 const std::vector<int32_t>& positions_N, const Attend& attend, const Numerics& numerics);
// The same over packed groups, keeping what backward needs (saved may be null: the same numbers, nothing kept).
at::Tensor BlockForward(const ModelConfig& config, const BlockWeights& weights, const at::Tensor& x_ND, RopeTable& rope,
                        const PackedGroups& batch, const Numerics& numerics, BlockSaved* saved);
// dy [N, D] -> dx [N, D]; adds the weights' gradients into `grad` (BindBlock over a flat fp32 tensor).
at::Tensor BlockBackward(const ModelConfig& config, const BlockWeights& weights, const at::Tensor& dy_ND, RopeTable& rope,
                         const PackedGroups& batch, const Numerics& numerics, const BlockSaved& saved, const BlockWeights& grad);

at::Tensor FinalNorm(const ModelConfig& config, const at::Tensor& weight_D, const at::Tensor& x_ND);
at::Tensor FinalNormBackward(const ModelConfig& config, const at::Tensor& weight_D, const at::Tensor& x_ND, const at::Tensor& dy_ND,
                             const at::Tensor& grad_D);

}  // namespace candor
