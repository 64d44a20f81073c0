#include "model/final_hidden.h"

#include "model/device.h"
#include "model/guarded.h"

namespace candor {

namespace {

// The row that would predict one token more is a text's last.
Result<PackedGroups> TextsWithOneMore(const ModelConfig& config, const std::vector<std::vector<int32_t>>& texts) {
  PackedGroups batch;
  batch.Begin(CommonBeginning(texts, std::identity()));
  for (const std::vector<int32_t>& text : texts) {
    for (const int32_t id : text)  // a tokenizer may know more than the model, and a policy may write any of it
      if (id < 0 || id >= config.vocab_size)
        return Fail(ErrorCode::kInvalidInput, "token " + std::to_string(id) + " lies outside the model's vocabulary");
    CANDOR_TRY(batch.Add(text, {{0}}));
  }
  return batch;
}

}  // namespace

Result<at::Tensor> FinalHidden(const ModelConfig& config, const Parameters& parameters, const Numerics& numerics,
                               const std::vector<std::vector<int32_t>>& texts) {
  CANDOR_ASSIGN(const PackedGroups batch, TextsWithOneMore(config, texts));
  return Guarded("reading hidden states", "if memory ran out, use shorter texts", [&]() -> Result<at::Tensor> {
    const DecoderWeights weights = BindDecoder(config, parameters, numerics);
    RopeTable rope(config);
    at::Tensor x_ND = Embed(weights.embedding_VD, batch.ids_N);
    for (const BlockWeights& block : weights.blocks_L) x_ND = BlockForward(config, block, x_ND, rope, batch, numerics, nullptr);
    const at::Tensor last_MD = x_ND.index_select(0, ToDevice(batch.predict_rows_M, x_ND.device()));
    return FinalNorm(config, weights.final_norm_D, last_MD).to(at::kFloat).cpu().contiguous();
  });
}

Result<at::Tensor> HiddenPass::Forward(const std::vector<std::vector<int32_t>>& texts) {
  inputs_L_.clear();
  CANDOR_ASSIGN(batch_, TextsWithOneMore(config_, texts));
  return Guarded("reading hidden states", "if memory ran out, use shorter texts", [&]() -> Result<at::Tensor> {
    const DecoderWeights weights = BindDecoder(config_, parameters_, numerics_);
    at::Tensor x_ND = Embed(weights.embedding_VD, batch_.ids_N);
    for (const BlockWeights& block : weights.blocks_L) {
      inputs_L_.push_back(x_ND);
      x_ND = BlockForward(config_, block, x_ND, rope_, batch_, numerics_, nullptr);
    }
    final_in_MD_ = x_ND.index_select(0, ToDevice(batch_.predict_rows_M, x_ND.device()));
    return FinalNorm(config_, weights.final_norm_D, final_in_MD_).to(at::kFloat).cpu().contiguous();
  });
}

Status HiddenPass::Backward(const at::Tensor& dhidden_MD, Parameters& gradients) {
  return Guarded("training hidden states", "if memory ran out, use shorter texts", [&]() -> Status {
    const DecoderWeights weights = BindDecoder(config_, parameters_, numerics_);
    const at::Device device = final_in_MD_.device();
    const at::Tensor dfinal_MD = FinalNormBackward(config_, weights.final_norm_D, final_in_MD_, dhidden_MD.to(device),
                                                   BindFinalNorm(config_, gradients.Flat(FinalNormUnit(config_))));
    at::Tensor dx_ND = at::zeros({batch_.rows(), config_.hidden_size}, dfinal_MD.options());
    dx_ND.index_add_(0, ToDevice(batch_.predict_rows_M, device), dfinal_MD);
    for (int64_t layer = config_.num_layers - 1; layer >= 0; --layer) {
      const auto l = static_cast<size_t>(layer);
      BlockSaved saved;
      saved.input_ND = inputs_L_[l];
      BlockForward(config_, weights.blocks_L[l], inputs_L_[l], rope_, batch_, numerics_, &saved);
      dx_ND = BlockBackward(config_, weights.blocks_L[l], dx_ND, rope_, batch_, numerics_, saved,
                            BindBlock(config_, layer, gradients.Flat(BlockUnit(layer))));
      inputs_L_[l] = at::Tensor();
    }
    EmbedBackward(dx_ND, batch_.ids_N, BindEmbedding(config_, gradients.Flat(EmbeddingUnit())));
    return {};
  });
}

}  // namespace candor
