// Rows of supervised fine-tuning as tokens with weights. Reading and tokenising; no torch. Any thread.
//   {prompt, completion}         every completion token is trained, and the end of the turn
//   {prompt, completion, label}  label 1 / 0, true / false, "correct" / "wrong" or a number between: the completion is cut behind its last
//                                closed tag before <confidence>, the slot follows as in the engine (kSlotPrefix, then the slot token), its
//                                confidence is trained on the label, and the completion's own tokens anchor the rest
#pragma once
#include <optional>
#include <vector>

#include "text/prompt.h"
#include "text/rows.h"
#include "trainer/options.h"

namespace candor {

struct SftExample {
  std::vector<int32_t> prompt_P, completion_T;
  std::vector<float> weights_T;  // part weights; 0 = not trained
  double anchor = 1.0;           // factor of this row's token loss: anchor_weight for labelled rows
  std::optional<float> label;    // then the last completion token is the slot's
};

// `slot`: required when a row has a label.
Result<std::vector<SftExample>> MakeSftExamples(const DataSet& rows, const PromptBuilder& builder, const Tokenizer& tokenizer,
                                                const std::optional<SlotTokens>& slot, const SftOptions& options, int64_t vocab_size,
                                                int64_t max_positions);

}  // namespace candor
