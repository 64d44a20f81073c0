// Rows to prompts; see prompt.h.
#include "text/prompt.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace candor {
namespace {

using Json = nlohmann::ordered_json;
constexpr std::string_view kPlaceholder = "{prompt}";

// One pass: text that comes in for {prompt} is not searched again.
std::string FillTemplate(std::string_view pattern, std::string_view prompt) {
  std::string filled;
  for (;;) {
    const size_t at = pattern.find(kPlaceholder);
    filled += pattern.substr(0, at);
    if (at == std::string_view::npos) return filled;
    filled += prompt;
    pattern.remove_prefix(at + kPlaceholder.size());
  }
}

Result<Json> ParseMessages(const DataRow& row) {
  Json messages = Json::parse(row.messages_json, nullptr, /*allow_exceptions=*/false);
  bool good = messages.is_array() && !messages.empty();
  for (size_t i = 0; good && i < messages.size(); ++i) good = messages[i].is_object() && messages[i].contains("role");
  if (!good) return Fail(ErrorCode::kInvalidInput, "the row's messages are not a JSON array of messages", row.where);
  return messages;
}

// Puts `before` in front of a message's content.
void Prepend(Json& message, const std::string& before) {
  Json& content = message["content"];
  if (content.is_array())
    content.insert(content.begin(), Json{{"type", "text"}, {"text", before + "\n\n"}});
  else
    content = before + "\n\n" + (content.is_string() ? content.get<std::string>() : std::string());
}

Json* FindRole(Json& messages, std::string_view role, bool last) {
  Json* found = nullptr;
  for (Json& message : messages) {
    if (message["role"] == role && (last || found == nullptr)) found = &message;
  }
  return found;
}

void AddSystemPrompt(Json& messages, const std::string& system_prompt, const std::string& role) {
  if (system_prompt.empty()) return;
  Json* target = FindRole(messages, role == "user" ? "user" : "system", /*last=*/false);
  if (target != nullptr)
    Prepend(*target, system_prompt);
  else
    messages.insert(messages.begin(), Json{{"role", role}, {"content", system_prompt}});
}

// The ids up to and with the first special token: what a policy must produce to end its turn. Empty where the template ends turns with
// plain text.
std::vector<int32_t> UpToSpecial(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (tokenizer.IsSpecial(ids[i])) return {ids.begin(), ids.begin() + static_cast<std::ptrdiff_t>(i) + 1};
  }
  return {};
}

}  // namespace

Result<SlotTokens> FindSlotTokens(const Tokenizer& tokenizer, const FormatOptions& options) {
  const auto find = [&](const std::string& token, const char* key) -> Result<int32_t> {
    if (token.empty())
      return Fail(ErrorCode::kInvalidInput, "the slot's token is not named", key, "name a token of the model's vocabulary");
    if (const auto id = tokenizer.TokenToId(token)) return *id;
    CANDOR_ASSIGN(const std::vector<int32_t> ids, tokenizer.Encode(token, false));
    if (ids.size() == 1) return ids[0];
    return Fail(ErrorCode::kInvalidInput, "\"" + token + "\" is " + std::to_string(ids.size()) + " tokens of this vocabulary, not one", key,
                "choose text that is a single token; `candor tokenize` shows how text is split");
  };
  SlotTokens slot;
  CANDOR_ASSIGN(slot.high, find(options.slot_high, "format.slot_high"));
  CANDOR_ASSIGN(slot.low, find(options.slot_low, "format.slot_low"));
  if (slot.high == slot.low) {
    return Fail(ErrorCode::kInvalidInput, "both tokens of the slot are the same", "format.slot_high, format.slot_low", "name two tokens");
  }
  return slot;
}

Result<PromptBuilder> PromptBuilder::Make(const Tokenizer* tokenizer, const ChatTemplate* chat_template, const FormatOptions& options) {
  PromptBuilder builder;
  builder.tokenizer_ = tokenizer;
  builder.template_ = chat_template;
  builder.options_ = options;
  CANDOR_ASSIGN(builder.format_, TagFormat::From(options.tags, options.confidence));
  if (options.prompt_template.find(kPlaceholder) == std::string::npos) {
    return Fail(ErrorCode::kInvalidInput, "the template has no place for the question", "format.prompt_template",
                "write {prompt} where it belongs");
  }
  if (builder.format_.confidence == ConfidenceSource::kSlot) {
    CANDOR_ASSIGN(builder.slot_, FindSlotTokens(*tokenizer, options));
  }
  builder.system_prompt_ = options.system_prompt == "auto" ? builder.format_.Instructions() : options.system_prompt;

  CANDOR_ASSIGN(const std::string turn_end, chat_template->TurnEnd());
  CANDOR_ASSIGN(const std::vector<int32_t> end_ids, tokenizer->Encode(turn_end, false));
  builder.turn_end_ = UpToSpecial(*tokenizer, end_ids);
  builder.stop_ids_ = tokenizer->end_ids();
  if (builder.turn_end_.empty() && !builder.stop_ids_.empty()) builder.turn_end_ = {builder.stop_ids_.front()};
  if (!builder.turn_end_.empty()) builder.stop_ids_.push_back(builder.turn_end_.back());
  std::sort(builder.stop_ids_.begin(), builder.stop_ids_.end());
  builder.stop_ids_.erase(std::unique(builder.stop_ids_.begin(), builder.stop_ids_.end()), builder.stop_ids_.end());
  return builder;
}

Result<std::string> PromptBuilder::Messages(const DataRow& row) const {
  Json messages = Json::array();
  if (row.messages_json.empty()) {
    messages.push_back({{"role", "user"}, {"content", FillTemplate(options_.prompt_template, row.prompt)}});
  } else {
    CANDOR_ASSIGN(messages, ParseMessages(row));
    Json* question = FindRole(messages, "user", /*last=*/true);
    if (options_.prompt_template != kPlaceholder && question != nullptr) {
      if (!(*question)["content"].is_string()) {
        return Fail(ErrorCode::kInvalidInput, "format.prompt_template cannot be filled: the user's content is a list of parts", row.where,
                    "set format.prompt_template to \"{prompt}\", or give the content as a string");
      }
      (*question)["content"] = FillTemplate(options_.prompt_template, (*question)["content"].get<std::string>());
    }
  }
  AddSystemPrompt(messages, system_prompt_, options_.system_role);
  try {
    return messages.dump();
  } catch (const Json::exception& e) {
    return Fail(ErrorCode::kInvalidInput, std::string("the prompt is not UTF-8: ") + e.what(), row.where);
  }
}

Result<PromptText> PromptBuilder::Build(const DataRow& row) const {
  CANDOR_ASSIGN(const std::string messages, Messages(row));
  auto chat = template_->Render(messages, {.add_generation_prompt = true});
  if (!chat) {
    Error error = chat.error();
    if (!row.where.empty()) error.where = row.where + ", " + error.where;
    if (error.fix.empty() && !system_prompt_.empty())
      error.fix = "if the template knows no system role, set format.system_role to \"user\"";
    return Fail(std::move(error));
  }
  PromptText prompt;
  prompt.text = std::move(chat->text);
  CANDOR_ASSIGN(prompt.ids_P, tokenizer_->Encode(prompt.text, /*add_special=*/false));
  return prompt;
}

Result<PromptText> PromptBuilder::BuildQuestion(std::string_view question) const {
  DataRow row;
  row.prompt = std::string(question);
  return Build(row);
}

Result<std::vector<int32_t>> PromptBuilder::EncodeCompletion(std::string_view completion) const {
  if (turn_end_.empty()) {
    return Fail(ErrorCode::kInvalidInput, "no token ends a turn: neither the chat template nor the model's configuration names one",
                template_->name(), "set eos_token in tokenizer_config.json");
  }
  CANDOR_ASSIGN(std::vector<int32_t> ids_T, tokenizer_->Encode(completion, false));
  ids_T.insert(ids_T.end(), turn_end_.begin(), turn_end_.end());
  return ids_T;
}

}  // namespace candor
