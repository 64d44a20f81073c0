// One choice of a reply as it grows: tokens in, text out that may be shown already. What could be the beginning of a stop text is held back
// until it is known; a stop text and what follows it are never shown. One thread.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "rollout/engine.h"
#include "rollout/stop_strings.h"
#include "text/tokenizer.h"

namespace candor {

// A token that stands in the shown text.
struct ShownToken {
  SampledToken sampled;
  int64_t begin_byte = 0;  // of the text
};

class ChoiceText {
 public:
  // `end_ids` (sorted) end a reply and are no part of its text. The tokenizer must outlive this.
  ChoiceText(const Tokenizer& tokenizer, const std::vector<int32_t>& end_ids, std::vector<std::string> stops);
  // What is new to show: the rest of the text, where it is the last. Texts of all calls together are text().
  Result<std::string> Push(const SampledToken& token);
  Result<std::string> Finish();
  // Shown so far.
  std::string_view text() const { return std::string_view(text_).substr(0, shown_); }
  // Tokens whose text has been shown, or is empty, and that TakeTokens has not given yet.
  std::vector<ShownToken> TakeTokens();
  int64_t sampled() const { return sampled_; }

 private:
  std::string ShowUpTo(size_t end);
  size_t SafeEnd() const;

  const Tokenizer& tokenizer_;
  std::vector<int32_t> end_ids_;
  StopStrings stops_;
  DecodeStream stream_;
  std::string text_;
  size_t shown_ = 0;
  bool cut_ = false;  // text_ ends where a stop text began
  int64_t sampled_ = 0;
  std::vector<ShownToken> tokens_;
  size_t given_ = 0;
};

}  // namespace candor
