#include "serve/reply.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "text/tags.h"

namespace candor {

namespace {

using Object = nlohmann::ordered_json;

std::string Text(const Object& json) { return json.dump(-1, ' ', false, Object::error_handler_t::replace); }

std::string BytesOf(const ServedModel& model, int32_t id) { return model.tokenizer->TokenBytes(id).value_or(""); }

Object ChatToken(const ServedModel& model, int32_t id, float log_prob) {
  const std::string bytes = BytesOf(model, id);
  Object list = Object::array();
  for (const char c : bytes) list.push_back(static_cast<unsigned char>(c));
  return {{"token", bytes}, {"logprob", log_prob}, {"bytes", list}, {"id", id}};
}

Object ChatLogProbs(const ServedModel& model, const std::vector<ShownToken>& tokens) {
  Object content = Object::array();
  for (const ShownToken& shown : tokens) {
    Object entry = ChatToken(model, shown.sampled.id, shown.sampled.log_prob);
    entry["top_logprobs"] = Object::array();
    for (const auto& [id, log_prob] : shown.sampled.top) entry["top_logprobs"].push_back(ChatToken(model, id, log_prob));
    content.push_back(std::move(entry));
  }
  return {{"content", content}};
}

// Characters in the first `bytes` of a text: those bytes that do not continue one.
int64_t CharactersBefore(std::string_view text, int64_t bytes) {
  const std::string_view head = text.substr(0, static_cast<size_t>(bytes));
  return std::count_if(head.begin(), head.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

Object CompletionLogProbs(const ServedModel& model, const std::vector<ShownToken>& tokens, std::string_view text) {
  Object result = {{"tokens", Object::array()},
                   {"token_logprobs", Object::array()},
                   {"top_logprobs", Object::array()},
                   {"text_offset", Object::array()},
                   {"token_ids", Object::array()}};
  for (const ShownToken& shown : tokens) {
    result["tokens"].push_back(BytesOf(model, shown.sampled.id));
    result["token_logprobs"].push_back(shown.sampled.log_prob);
    Object top = Object::object();
    for (const auto& [id, log_prob] : shown.sampled.top) {
      const std::string token = Text(BytesOf(model, id));  // as it will stand in the reply, without the quotes: two may look the same
      top.emplace(Object::parse(token).get<std::string>(), log_prob);
    }
    result["top_logprobs"].push_back(std::move(top));
    result["text_offset"].push_back(CharactersBefore(text, shown.begin_byte));
    result["token_ids"].push_back(shown.sampled.id);
  }
  return result;
}

Object LogProbs(const ReplyFrame& frame, const std::vector<ShownToken>& tokens, std::string_view text) {
  if (!frame.log_probs) return nullptr;
  return frame.endpoint == Endpoint::kChat ? ChatLogProbs(*frame.model, tokens) : CompletionLogProbs(*frame.model, tokens, text);
}

// How a choice ended, and what Candor knows of it beyond its text.
void AddEnding(const ReplyFrame& frame, const Trace& trace, Object& choice) {
  choice["finish_reason"] = trace.finish == FinishReason::kLength ? "length" : "stop";
  const TagFormat& tags = frame.model->tags;
  if (tags.confidence != ConfidenceSource::kNone) {
    const std::optional<double> confidence = frame.model->confidence(trace);
    choice["confidence"] = confidence ? Object(*confidence) : Object(nullptr);
  }
  const bool withheld = frame.model->withholds && frame.model->withholds(trace);
  if (frame.model->withholds) choice["abstained"] = withheld;
  if (tags.tags.empty()) return;
  if (withheld) {
    choice["answer"] = frame.model->abstain_text;
    return;
  }
  const ParsedTags parsed = ParseTags(tags, trace.text);
  choice["answer"] = parsed.valid ? Object(parsed.answer) : Object(nullptr);
}

Object Frame(const ReplyFrame& frame, const char* chat_object) {
  return {{"id", frame.id},
          {"object", frame.endpoint == Endpoint::kChat ? chat_object : "text_completion"},
          {"created", frame.created_unix_s},
          {"model", frame.model->name}};
}

Object UsageObject(const Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens},
          {"completion_tokens", usage.completion_tokens},
          {"total_tokens", usage.prompt_tokens + usage.completion_tokens}};
}

std::string Chunk(const ReplyFrame& frame, Object choice) {
  Object chunk = Frame(frame, "chat.completion.chunk");
  chunk["choices"] = Object::array({std::move(choice)});
  return Text(chunk);
}

}  // namespace

std::string ReplyJson(const ReplyFrame& frame, const std::vector<FinishedChoice>& choices, const Usage& usage) {
  Object reply = Frame(frame, "chat.completion");
  reply["choices"] = Object::array();
  for (size_t i = 0; i < choices.size(); ++i) {
    Object choice = {{"index", i}};
    if (frame.endpoint == Endpoint::kChat)
      choice["message"] = {{"role", "assistant"}, {"content", choices[i].text}};
    else
      choice["text"] = choices[i].text;
    choice["logprobs"] = LogProbs(frame, choices[i].tokens, choices[i].text);
    AddEnding(frame, *choices[i].trace, choice);
    reply["choices"].push_back(std::move(choice));
  }
  reply["usage"] = UsageObject(usage);
  return Text(reply);
}

std::string RoleChunk(const ReplyFrame& frame, int32_t choice) {
  return Chunk(frame, {{"index", choice}, {"delta", {{"role", "assistant"}, {"content", ""}}}, {"finish_reason", nullptr}});
}

std::string TextChunk(const ReplyFrame& frame, int32_t choice, const std::string& text, const std::vector<ShownToken>& tokens,
                      std::string_view text_so_far) {
  Object json = {{"index", choice}};
  if (frame.endpoint == Endpoint::kChat)
    json["delta"] = {{"content", text}};
  else
    json["text"] = text;
  json["logprobs"] = LogProbs(frame, tokens, text_so_far);
  json["finish_reason"] = nullptr;
  return Chunk(frame, std::move(json));
}

std::string EndChunk(const ReplyFrame& frame, int32_t choice, const Trace& trace) {
  Object json = {{"index", choice}};
  if (frame.endpoint == Endpoint::kChat)
    json["delta"] = Object::object();
  else
    json["text"] = "";
  json["logprobs"] = nullptr;
  AddEnding(frame, trace, json);
  return Chunk(frame, std::move(json));
}

std::string UsageChunk(const ReplyFrame& frame, const Usage& usage) {
  Object chunk = Frame(frame, "chat.completion.chunk");
  chunk["choices"] = Object::array();
  chunk["usage"] = UsageObject(usage);
  return Text(chunk);
}

std::string ModelsJson(const ServedModel& model, bool list) {
  const ConfidenceSource source = model.tags.confidence;
  Object one = {{"id", model.name}, {"object", "model"}, {"created", model.created_unix_s}, {"owned_by", "candor"}};
  one["max_model_len"] = model.positions > 0 ? Object(model.positions) : Object(nullptr);
  one["confidence"] = source == ConfidenceSource::kSlot     ? Object("slot")
                      : source == ConfidenceSource::kVerbal ? Object("verbal")
                                                            : Object(nullptr);
  return Text(list ? Object{{"object", "list"}, {"data", Object::array({one})}} : one);
}

}  // namespace candor
