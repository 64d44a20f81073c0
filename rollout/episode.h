// An Episode decides what comes next in one trace: sample a token, put given tokens there (environment), read the confidence slot, or end.
// The engine knows tokens and probabilities; the episode knows texts, tags and turns. A single turn is the first Episode; tools and several
// turns are others, without a change to engine or wire. One thread: the engine's.
#pragma once
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/trace.h"
#include "rollout/options.h"
#include "rollout/stop_strings.h"
#include "text/prompt.h"
#include "text/tags.h"
#include "text/tokenizer.h"

namespace candor {

struct NextAction {
  enum class Kind : uint8_t { kSample = 0, kForce = 1, kReadSlot = 2, kFinish = 3 };
  Kind kind = Kind::kSample;
  std::vector<int32_t> ids;                   // kForce: at least one token
  SlotTokens slot;                            // kReadSlot
  FinishReason finish = FinishReason::kStop;  // kFinish
};

// What was read beside each completion token; 0 where the token was not sampled.
struct TraceReadings {
  std::vector<float> self_certainty_T, token_confidence_T, margin_T;
};

class Episode {
 public:
  virtual ~Episode() = default;
  // The most tokens a trace can hold, forced ones included.
  virtual int64_t max_tokens() const = 0;
  virtual NextAction Next() = 0;
  // Tells of every token that joins the trace, in order.
  virtual Status Append(int32_t id, Origin origin) = 0;
  // Fills text, spans and the signals that need the text. tokens_T, log_probs_T and finish are set.
  virtual Status Finish(Trace& trace, const TraceReadings& readings) = 0;
};
using EpisodeFactory = std::function<std::unique_ptr<Episode>(const SamplingOptions&)>;

// What the single-turn episode needs to know; shared by all episodes of a worker. The tokenizer must outlive them.
struct TurnFormat {
  const Tokenizer* tokenizer = nullptr;
  TagFormat tags;
  std::vector<int32_t> stop_ids;     // tokens that end a reply; they stay in the trace
  StopStrings stops;                 // the format's last tag first (when it has tags), then the user's; they stay in the text
  bool has_end_tag = false;          // stops[0] is the format's last tag
  std::optional<SlotTokens> slot;    // read after the end tag, behind slot_prefix
  std::vector<int32_t> slot_prefix;  // "<confidence>"
};
// `slot` is required exactly when the format reads one. `slot_prefix_text`: what is forced before the slot ("" = the opening confidence
// tag).
Result<std::shared_ptr<const TurnFormat>> MakeTurnFormat(const Tokenizer& tokenizer, const TagFormat& tags, std::vector<int32_t> stop_ids,
                                                         std::vector<std::string> stop, std::optional<SlotTokens> slot,
                                                         const std::string& slot_prefix_text = "");
// One reply: sampled until an end token, a stop text or max_new_tokens; then, when the format has a slot and its last tag was closed, the
// slot is read. shared_ptr: episodes of many groups outlive each other in any order.
EpisodeFactory SingleTurn(std::shared_ptr<const TurnFormat> format);

// Consecutive tokens of one origin and segment become one span.
std::vector<Span> MakeSpans(const std::vector<Origin>& origin_T, const std::vector<Segment>& segment_T, int32_t turn);

}  // namespace candor
