// Aggregation: how a step's token losses become one number. Every form is a sum over tokens with a weight that depends on counts only, so
// the weights are known before the first backward. Pure, any thread.
//   token         1 / tokens                              mean over all trained tokens (DAPO)
//   sequence      1 / (tokens of the trace * traces)      mean per trace, then over traces (GRPO)
//   prompt        1 / (tokens of the group * prompts)     mean over the tokens of a prompt's traces, then over prompts (ScaleRL)
//   sequence_sum  1 / traces                              log-probability of the whole answer (RLOO)
//   fixed_length  1 / (length_norm * traces)              Dr.GRPO: a constant instead of each trace's length
#pragma once
#include "core/result.h"
#include "trainer/options.h"

namespace candor {

enum class Aggregation : uint8_t { kToken = 0, kSequence = 1, kPrompt = 2, kSequenceSum = 3, kFixedLength = 4 };

// Resolves "auto" by the loss; refuses a combination that would not be the loss it says.
Result<Aggregation> CheckAggregation(const TrainerOptions& options);

// Over the whole step and all ranks; what has no trained token does not count.
struct Denominators {
  double tokens = 0.0;
  double sequences = 0.0;
  double prompts = 0.0;
  double slots = 0.0;  // slots with a target
  double pairs = 0.0;  // preferences
};

// Weight of one trained token; 0 where the step trains nothing.
double TokenWeight(Aggregation aggregation, const Denominators& all, double trace_tokens, double group_tokens, double length_norm);

}  // namespace candor
