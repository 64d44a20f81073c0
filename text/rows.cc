// One JSON line to one DataRow; see rows.h. Files and sets: data_set.cc.
#include "text/rows.h"

#include <nlohmann/json.hpp>
#include <optional>

#include "core/json_depth.h"

namespace candor {
namespace {

using Json = nlohmann::ordered_json;  // messages keep the order of their keys: templates print tool arguments in it

constexpr size_t kMaxRowBytes = size_t{64} << 20;

// What one row is read with.
struct Reader {
  const Json& row;
  const std::string& where;

  tl::unexpected<Error> Bad(const std::string& field, const std::string& problem, const std::string& fix) const {
    return Fail(ErrorCode::kInvalidInput, "field \"" + field + "\" " + problem, where, fix);
  }

  // The key itself, else a path through objects; nullptr where missing or null.
  const Json* Find(std::string_view field) const {
    if (const auto it = row.find(std::string(field)); it != row.end()) return it->is_null() ? nullptr : &*it;
    const Json* at = &row;
    while (!field.empty()) {
      const size_t dot = field.find('.');
      if (!at->is_object()) return nullptr;
      const auto it = at->find(std::string(field.substr(0, dot)));
      if (it == at->end()) return nullptr;
      at = &*it;
      field = dot == std::string_view::npos ? std::string_view() : field.substr(dot + 1);
    }
    return at->is_null() ? nullptr : at;
  }

  // The configured field if there is one, else the first usual name that the row has.
  std::pair<std::string, const Json*> FindAny(const std::string& configured, std::initializer_list<const char*> usual) const {
    if (!configured.empty()) return {configured, Find(configured)};
    for (const char* name : usual) {
      if (const Json* found = Find(name)) return {name, found};
    }
    return {*usual.begin(), nullptr};
  }
};

std::optional<std::string> TextOf(const Json& value) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number()) return value.dump();
  return std::nullopt;
}

// A string, a number, or a list of them.
Result<std::vector<std::string>> TextList(const Reader& reader, const std::string& field, const Json& value) {
  std::vector<std::string> texts;
  if (value.is_array()) {
    for (const Json& item : value) {
      auto text = TextOf(item);
      if (!text) return reader.Bad(field, "has an entry that is neither text nor a number", "give a list of strings");
      texts.push_back(std::move(*text));
    }
    return texts;
  }
  auto text = TextOf(value);
  if (!text) return reader.Bad(field, "is neither text, a number nor a list of them", "give a string or a list of strings");
  texts.push_back(std::move(*text));
  return texts;
}

// The text of a message: a string, or the text parts of a list of parts.
std::optional<std::string> ContentText(const Json& message) {
  const auto it = message.find("content");
  if (it == message.end() || it->is_null()) return std::string();
  if (it->is_string()) return it->get<std::string>();
  if (!it->is_array()) return std::nullopt;
  std::string text;
  for (const Json& part : *it) {
    if (!part.is_object()) return std::nullopt;
    if (part.contains("text") && part["text"].is_string()) text += part["text"].get<std::string>();
  }
  return text;
}

Status CheckMessages(const Reader& reader, const std::string& field, const Json& messages) {
  if (messages.empty()) return reader.Bad(field, "has no messages", "give at least one {\"role\": \"user\", \"content\": ...}");
  for (size_t i = 0; i < messages.size(); ++i) {
    const Json& message = messages[i];
    const std::string entry = "message " + std::to_string(i);
    if (!message.is_object() || !message.contains("role") || !message["role"].is_string()) {
      return reader.Bad(field, "holds a " + entry + " without a role", "each message is {\"role\": .., \"content\": ..}");
    }
    if (!ContentText(message))
      return reader.Bad(field, "holds a " + entry + " whose content is not text", "content is a string or a list of parts");
  }
  return {};
}

Status ReadMessages(const Reader& reader, const std::string& field, const Json& value, DataRow& row) {
  Json messages = value;
  CANDOR_TRY(CheckMessages(reader, field, messages));
  if (messages.back()["role"] == "assistant") {
    row.completion = *ContentText(messages.back());
    row.has_completion = true;
    messages.erase(messages.size() - 1);
  }
  const Json* last_user = nullptr;
  for (const Json& message : messages) {
    if (message["role"] == "user") last_user = &message;
  }
  if (last_user == nullptr) return reader.Bad(field, "has no message of the user before the reply", "add one: it is the question");
  row.prompt = *ContentText(*last_user);
  row.messages_json = messages.dump();
  return {};
}

Status ReadPrompt(const Reader& reader, const FieldNames& fields, DataRow& row) {
  const auto [field, value] = reader.FindAny(fields.prompt, {"prompt", "messages"});
  if (value == nullptr) {
    return reader.Bad(field, "is missing", "add it, or name the field that holds the prompt with data.prompt_field");
  }
  if (value->is_array()) return ReadMessages(reader, field, *value, row);
  if (!value->is_string()) return reader.Bad(field, "is neither text nor a list of messages", "give a string or messages");
  row.prompt = value->get<std::string>();
  if (row.prompt.empty()) return reader.Bad(field, "is empty", "give the question");
  return {};
}

Status ReadAnswers(const Reader& reader, const FieldNames& fields, const RowNeeds& needs, DataRow& row) {
  const auto [field, value] = reader.FindAny(fields.answer, {"answer", "reward_model.ground_truth"});
  if (value != nullptr) {
    CANDOR_ASSIGN(row.answers, TextList(reader, field, *value));
    for (const std::string& answer : row.answers) {
      if (answer.empty()) return reader.Bad(field, "is empty text", "leave the field out if there is no answer");
    }
  }
  if (value == nullptr && needs.answer) {  // an empty list is an answer: whatever is said is wrong
    return reader.Bad(field, "is missing: without an answer nothing can be graded", "add it, or name the field with data.answer_field");
  }
  return {};
}

Status ReadCompletion(const Reader& reader, const FieldNames& fields, const RowNeeds& needs, DataRow& row) {
  const auto [field, value] = reader.FindAny(fields.completion, {"completion"});
  if (value != nullptr) {
    if (row.has_completion)
      return reader.Bad(field, "is given, but the prompt already ends with the assistant's reply", "give one of the two");
    const bool messages = value->is_array() && value->size() == 1 && value->front().is_object() && value->front().contains("content");
    const auto text = messages ? ContentText(value->front()) : TextOf(*value);
    if (!text)
      return reader.Bad(field, "is neither text nor one message of the assistant", "give a string, or [{\"role\": \"assistant\", ..}]");
    row.completion = *text;
    row.has_completion = true;
  }
  if (!row.has_completion && needs.completion) {
    return reader.Bad(field, "is missing: supervised rows need the reply to imitate",
                      "add it, end \"messages\" with the assistant's, or name the field with data.completion_field");
  }
  return {};
}

Status ReadNames(const Reader& reader, const FieldNames& fields, DataRow& row) {
  const auto [id_field, id] = reader.FindAny(fields.id, {"id"});
  row.id = row.where;
  if (id != nullptr) {
    const auto text = TextOf(*id);
    if (!text || text->empty()) return reader.Bad(id_field, "is neither text nor a number", "give each row a short name");
    row.id = *text;
  }
  const auto [slice_field, slice] = reader.FindAny(fields.slice, {"slice"});
  if (slice != nullptr) {
    CANDOR_ASSIGN(row.slices, TextList(reader, slice_field, *slice));
  }
  if (const Json* source = reader.Find("data_source"); source != nullptr && source->is_string()) row.source = source->get<std::string>();
  return {};
}

}  // namespace

namespace {

// Why a line is not JSON, at which byte: the parser's own words without its code names.
std::string NotJson(std::string_view line) {
  std::string words;
  size_t byte = 0;
  try {
    const Json parsed = Json::parse(line);
  } catch (const Json::parse_error& error) {
    words = error.what(), byte = error.byte;
  } catch (const Json::exception& error) {  // a number that no double holds
    words = error.what();
  }
  if (const size_t colon = words.find(": "); colon != std::string::npos) words = words.substr(colon + 2);
  return byte == 0 ? "not JSON: " + words : "not JSON at byte " + std::to_string(byte) + ": " + words;
}

}  // namespace

Result<DataRow> ParseRow(std::string_view line, const std::string& where, const FieldNames& fields, const RowNeeds& needs) {
  if (line.size() > kMaxRowBytes) {
    return Fail(ErrorCode::kInvalidInput,
                "the row has " + std::to_string(line.size()) + " bytes, more than " + std::to_string(kMaxRowBytes), where,
                "is the file really one JSON object per line?");
  }
  if (BracketDepth(line) > kMaxJsonDepth) {
    return Fail(ErrorCode::kInvalidInput, "the row is nested deeper than " + std::to_string(kMaxJsonDepth) + " levels", where,
                "flatten it");
  }
  if (MostKeys(line) > kMaxJsonKeys)
    return Fail(ErrorCode::kInvalidInput, "an object of the row has more than " + std::to_string(kMaxJsonKeys) + " keys", where,
                "is the file really one JSON object per line?");
  const Json json = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Fail(ErrorCode::kInvalidInput, NotJson(line), where, "write one JSON object per line (JSONL)");
  if (!json.is_object())
    return Fail(ErrorCode::kInvalidInput, "the line is not a JSON object", where, "write one JSON object per line (JSONL)");
  DataRow row;
  row.where = where;
  row.json = std::string(line);
  const Reader reader{json, where};
  CANDOR_TRY(ReadPrompt(reader, fields, row));
  CANDOR_TRY(ReadAnswers(reader, fields, needs, row));
  CANDOR_TRY(ReadCompletion(reader, fields, needs, row));
  CANDOR_TRY(ReadNames(reader, fields, row));
  return row;
}

}  // namespace candor
