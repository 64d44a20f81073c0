// The policy's own reading of a whole text: the hidden state behind the final norm at its last token. What heads of another kind (a reward
// model's) are put on. No gradient.
#pragma once
#include <vector>

#include "model/decoder.h"

namespace candor {

// fp32 on the host, [texts, D]. Every text needs a token. Library failures come back as errors.
Result<at::Tensor> FinalHidden(const ModelConfig& config, const Parameters& parameters, const Numerics& numerics,
                               const std::vector<std::vector<int32_t>>& texts);

}  // namespace candor
