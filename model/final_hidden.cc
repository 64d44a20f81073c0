#include "model/final_hidden.h"

#include "model/device.h"
#include "model/guarded.h"

namespace candor {

Result<at::Tensor> FinalHidden(const ModelConfig& config, const Parameters& parameters, const Numerics& numerics,
                               const std::vector<std::vector<int32_t>>& texts) {
  PackedGroups batch;
  for (const std::vector<int32_t>& text : texts)  // a tokenizer may know more than the model, and a policy may write any of it
    for (const int32_t id : text)
      if (id < 0 || id >= config.vocab_size)
        return Fail(ErrorCode::kInvalidInput, "token " + std::to_string(id) + " lies outside the model's vocabulary");
  // The row that would predict one token more is the text's last.
  for (const std::vector<int32_t>& text : texts) CANDOR_TRY(batch.Add(text, {{0}}));
  return Guarded("reading hidden states", "if memory ran out, use shorter texts", [&]() -> Result<at::Tensor> {
    const DecoderWeights weights = BindDecoder(config, parameters, numerics);
    RopeTable rope(config);
    at::Tensor x_ND = Embed(weights.embedding_VD, batch.ids_N);
    for (const BlockWeights& block : weights.blocks_L) x_ND = BlockForward(config, block, x_ND, rope, batch, numerics, nullptr);
    const at::Tensor last_MD = x_ND.index_select(0, ToDevice(batch.predict_rows_M, x_ND.device()));
    return FinalNorm(config, weights.final_norm_D, last_MD).to(at::kFloat).cpu().contiguous();
  });
}

}  // namespace candor
