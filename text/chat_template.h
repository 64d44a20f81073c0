// ChatTemplate: messages to the text a chat model was trained on, by the model's own Jinja template, byte for byte as transformers'
// apply_chat_template renders it.
//
// Templates are untrusted programs: execution is bounded by fuel, recursion by a depth, output by a size; a template that exceeds them is
// an error, never a crash. (The memory of intermediate strings is not bounded: do not render a template from a source you would not run at
// all.)
//
// Threads: immutable after loading; Render may be called from any thread at once.
#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/tokenizer.h"

namespace candor {

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
  friend bool operator==(const ChatMessage&, const ChatMessage&) = default;
};

// The messages as the JSON array that Render takes. Content that is not UTF-8 is an error.
Result<std::string> MessagesToJson(std::span<const ChatMessage> messages_N);

struct RenderOptions {
  bool add_generation_prompt = false;      // end with the opening of an assistant turn
  std::string tools_json = {};             // JSON array of tool schemas; "" = none
  std::string extra_json = {};             // JSON object of further template variables, e.g. {"enable_thinking": false}; "" = none
  std::optional<int64_t> now_unix_s = {};  // what strftime_now sees, in UTC; by default the real local time
};

struct RenderedChat {
  std::string text;
  // The bytes written inside {% generation %} blocks: what the assistant said. Empty for templates that have no such blocks.
  std::vector<ByteRange> assistant;
};

class ChatTemplate {
 public:
  // Looks, in this order, for chat_template.jinja, chat_template.json and tokenizer_config.json's chat_template in a model folder; a file
  // ending in .jinja is a template by itself. A folder without any gets the plain default (is_default()). Special tokens (bos_token, ...)
  // come from tokenizer_config.json, then special_tokens_map.json.
  static Result<ChatTemplate> Load(const std::string& path);
  // A template's source; `special_tokens_json` is an object such as {"bos_token": "<s>"}, "" = none.
  static Result<ChatTemplate> FromSource(std::string source, const std::string& name, const std::string& special_tokens_json = "");

  // `messages_json`: array of {"role": .., "content": .., ..}; other keys (tool_calls, reasoning_content) are passed through. A template's
  // raise_exception is an error with its words.
  Result<RenderedChat> Render(std::string_view messages_json, const RenderOptions& options = {}) const;
  Result<RenderedChat> Render(std::span<const ChatMessage> messages_N, const RenderOptions& options = {}) const;

  // What the template writes after an assistant's content ("<|im_end|>\n"): the text that ends a turn.
  Result<std::string> TurnEnd() const;

  // True where the folder had no template; then note() says so and what to do about it.
  bool is_default() const { return is_default_; }
  const std::string& note() const { return note_; }
  const std::string& source() const { return source_; }
  const std::string& name() const { return name_; }

  // The plain default: "System text\n\nUser: ..\n\nAssistant: ..\n\n", a generation prompt is "Assistant:".
  static const char* DefaultSource();

 private:
  struct Compiled;
  struct FreeCompiled {
    void operator()(Compiled* compiled) const;
  };
  ChatTemplate() = default;
  std::unique_ptr<Compiled, FreeCompiled> compiled_;
  std::string source_;
  std::string name_;            // file it came from, for errors
  std::string special_tokens_;  // JSON object
  std::string note_;
  bool is_default_ = false;
};

}  // namespace candor
