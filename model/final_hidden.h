// The policy's own reading of a whole text: the hidden state behind the final norm at its last token. What heads of another kind (a reward
// model's) are put on; and its gradient, for a trunk that is trained with them.
#pragma once
#include <vector>

#include "model/decoder.h"

namespace candor {

// fp32 on the host, [texts, D]. Every text needs a token. Library failures come back as errors.
Result<at::Tensor> FinalHidden(const ModelConfig& config, const Parameters& parameters, const Numerics& numerics,
                               const std::vector<std::vector<int32_t>>& texts);

// The same with a way back. Keeps each block's input and runs the block again in Backward.
class HiddenPass {
 public:
  // `parameters` in the format of `numerics`; they may change between one Backward and the next Forward.
  HiddenPass(const ModelConfig& config, const Numerics& numerics, const Parameters& parameters)
      : config_(config), numerics_(numerics), parameters_(parameters), rope_(config) {}
  Result<at::Tensor> Forward(const std::vector<std::vector<int32_t>>& texts);
  // Of the last Forward; `dhidden_MD` as Forward's result. Adds into `gradients` (fp32, on the parameters' device).
  Status Backward(const at::Tensor& dhidden_MD, Parameters& gradients);

 private:
  const ModelConfig config_;
  const Numerics numerics_;
  const Parameters& parameters_;
  RopeTable rope_;
  PackedGroups batch_;
  std::vector<at::Tensor> inputs_L_;
  at::Tensor final_in_MD_;
};

}  // namespace candor
