// The policy's view of a row's reference answer: its log-probabilities where it stands in for each trace's own answer, behind that trace's
// reasoning (RLPR, OpenBMB/RLPR prob.py; DRO's reflection reward, arXiv 2506.13351), and once per group behind an empty reasoning. The
// reward tier makes channels of them (reward/policy_channels.h). No torch in this header. One thread: the engine's.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/trace.h"
#include "rollout/engine.h"
#include "text/tags.h"
#include "text/tokenizer.h"

namespace candor {

// A completion that ends with the reference answer; its last `reference` tokens are what is scored.
struct ForcedReference {
  std::vector<int32_t> tokens_T;
  size_t reference = 0;
};
// The trace's own tokens up to the inside of its answer tag, then the reference. Where the tag ends inside a token the rest of that token's
// text is encoded together with the reference. nullopt where the trace opened and closed no answer tag in its place.
Result<std::optional<ForcedReference>> ForceReference(const Tokenizer& tokenizer, const TagFormat& format,
                                                      const std::vector<int32_t>& tokens_T, const std::string& reference);
// The same with nothing to think of: the format's tags before the answer, empty, one to a line. `prompt` is the prompt's text, which may
// have opened <think> already.
Result<ForcedReference> ForceReferenceWithoutReasoning(const Tokenizer& tokenizer, const TagFormat& format, const std::string& prompt,
                                                       const std::string& reference);

class ReferenceScorer {
 public:
  // All must outlive the scorer.
  ReferenceScorer(const Tokenizer& tokenizer, const TagFormat& format, Engine& engine)
      : tokenizer_(tokenizer), format_(format), engine_(engine) {}
  // Fills reference_base_R and each sampled trace's reference_log_probs_R and reference_ranks_R; they stay empty where the trace has no
  // answer tag or the model no room. A format without tags has no reasoning: nothing is filled.
  Status Score(const std::string& reference, TraceGroup& group) const;

 private:
  const Tokenizer& tokenizer_;
  const TagFormat& format_;
  Engine& engine_;
};

}  // namespace candor
