#include "trainer/aggregation.h"

namespace candor {

Result<Aggregation> CheckAggregation(const TrainerOptions& o) {
  if (o.loss == "dr_grpo" && o.aggregation != "auto" && o.aggregation != "fixed_length")
    return Fail(
        ErrorCode::kInvalidInput,
        "loss = \"dr_grpo\" is the clipped loss with aggregation = \"fixed_length\"; with \"" + o.aggregation + "\" it is another loss",
        "trainer.aggregation", "leave aggregation out, or use loss = \"ppo_clip\"");
  if (o.aggregation == "token") return Aggregation::kToken;
  if (o.aggregation == "sequence") return Aggregation::kSequence;
  if (o.aggregation == "prompt") return Aggregation::kPrompt;
  if (o.aggregation == "sequence_sum") return Aggregation::kSequenceSum;
  if (o.aggregation == "fixed_length") return Aggregation::kFixedLength;
  if (o.aggregation != "auto")
    return Fail(ErrorCode::kInvalidInput, "unknown aggregation \"" + o.aggregation + "\"", "trainer.aggregation");
  if (o.loss == "cispo") return Aggregation::kPrompt;
  if (o.loss == "ppo_clip" || o.loss == "gspo" || o.loss == "sapo") return Aggregation::kSequence;
  if (o.loss == "decoupled_ppo" || o.loss == "clip_cov" || o.loss == "kl_cov") return Aggregation::kToken;
  return o.loss == "rloo" ? Aggregation::kSequenceSum : Aggregation::kFixedLength;
}

namespace {
double OneOver(double x) { return x > 0.0 ? 1.0 / x : 0.0; }
}  // namespace

double TokenWeight(Aggregation aggregation, const Denominators& all, double trace_tokens, double group_tokens, double length_norm) {
  switch (aggregation) {
    case Aggregation::kToken:
      return OneOver(all.tokens);
    case Aggregation::kSequence:
      return OneOver(trace_tokens * all.sequences);
    case Aggregation::kPrompt:
      return OneOver(group_tokens * all.prompts);
    case Aggregation::kSequenceSum:
      return OneOver(all.sequences);
    case Aggregation::kFixedLength:
      return OneOver(length_norm * all.sequences);
  }
  return 0.0;
}

}  // namespace candor
