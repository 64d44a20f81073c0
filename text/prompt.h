// From a data row to the tokens a policy is prompted with: system prompt, prompt template, chat template, token ids. Rollout, SFT,
// evaluation and `candor generate` all come through here, so that training and use cannot differ.
//
// Threads: PromptBuilder only reads what it points to; any thread.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/chat_template.h"
#include "text/data_options.h"
#include "text/rows.h"
#include "text/tags.h"
#include "text/tokenizer.h"

namespace candor {

struct PromptText {
  std::string text;  // as rendered, ending with the opening of the assistant's turn
  std::vector<int32_t> ids_P;
};

// The ids of the confidence slot's two tokens.
struct SlotTokens {
  int32_t high = -1;
  int32_t low = -1;
};
// Both tokens must be in the vocabulary and differ; each may be named as it is spelled in the vocabulary or as text that encodes to exactly
// one token.
Result<SlotTokens> FindSlotTokens(const Tokenizer& tokenizer, const FormatOptions& options);

class PromptBuilder {
 public:
  // Tokenizer and template must outlive the builder. Errors: a format that does not hold together, a prompt_template without {prompt}.
  static Result<PromptBuilder> Make(const Tokenizer* tokenizer, const ChatTemplate* chat_template, const FormatOptions& options);

  const TagFormat& format() const { return format_; }
  // Set where format.confidence is "slot".
  const SlotTokens& slot() const { return slot_; }
  const std::string& system_prompt() const { return system_prompt_; }

  // The messages a row becomes, as JSON: the system prompt goes before a system message of the row's own; {prompt} of the prompt template
  // is the row's prompt string or, in a row of messages, the content of its last user message.
  Result<std::string> Messages(const DataRow& row) const;
  Result<PromptText> Build(const DataRow& row) const;
  // A question typed by a person.
  Result<PromptText> BuildQuestion(std::string_view question) const;
  // A completion as training text: its ids, then the token that ends a turn.
  Result<std::vector<int32_t>> EncodeCompletion(std::string_view completion) const;
  // Ids that end a reply when sampled: the tokenizer's end ids and the special token with which the template ends an assistant's turn.
  // Sorted.
  const std::vector<int32_t>& stop_ids() const { return stop_ids_; }

 private:
  PromptBuilder() = default;
  const Tokenizer* tokenizer_ = nullptr;
  const ChatTemplate* template_ = nullptr;
  TagFormat format_;
  SlotTokens slot_;
  FormatOptions options_;
  std::string system_prompt_;
  std::vector<int32_t> turn_end_;
  std::vector<int32_t> stop_ids_;
};

}  // namespace candor
