#include "reward/verifiers/choice.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "reward/verifiers/normalise.h"

namespace candor {

namespace {

constexpr size_t kMaxChoices = 26;

std::optional<size_t> LetterIndex(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<size_t>(c - 'A');
  if (c >= 'a' && c <= 'z') return static_cast<size_t>(c - 'a');
  return std::nullopt;
}

std::string_view WithoutLeadingWord(std::string_view text) {
  std::string folded = FoldCase(text.substr(0, 16));
  for (std::string_view word : {"option", "choice", "answer"})
    if (folded.starts_with(word)) {
      std::string_view rest = text.substr(word.size());
      if (rest.empty() || (rest[0] != ' ' && rest[0] != ':')) return text;
      rest = TrimSpace(rest.substr(1));
      return rest.starts_with(":") ? TrimSpace(rest.substr(1)) : rest;
    }
  return text;
}

}  // namespace

std::optional<size_t> ChoiceLetter(std::string_view text) {
  text = WithoutLeadingWord(TrimSpace(text));
  bool parenthesis = text.starts_with("(");
  if (parenthesis) text.remove_prefix(1);
  if (text.empty()) return std::nullopt;
  std::optional<size_t> index = LetterIndex(text[0]);
  text.remove_prefix(1);
  if (!index) return std::nullopt;
  if (parenthesis) return text.starts_with(")") ? index : std::nullopt;
  if (text.empty() || text[0] == '.' || text[0] == ')' || text[0] == ':') return index;
  return std::nullopt;
}

Result<std::vector<std::string>> ReadChoices(const std::string& row_json, const std::string& field) {
  nlohmann::json row = nlohmann::json::parse(row_json, nullptr, false);
  if (!row.is_object() || !row.contains(field)) return std::vector<std::string>{};
  const nlohmann::json* list = &row[field];
  if (list->is_object() && list->contains("text")) list = &(*list)["text"];
  if (!list->is_array() || list->empty() || list->size() > kMaxChoices)
    return Fail(ErrorCode::kInvalidInput, "the row's " + field + " is not a list of 1 to 26 choices");
  std::vector<std::string> choices;
  for (const nlohmann::json& choice : *list) choices.push_back(choice.is_string() ? choice.get<std::string>() : choice.dump());
  return choices;
}

std::optional<size_t> ResolveChoice(std::string_view text, const std::vector<std::string>& choices) {
  std::string folded = FoldCase(text);
  auto find = [&](auto&& same) -> std::pair<size_t, size_t> {  // how many, the last of them
    size_t count = 0, where = 0;
    for (size_t i = 0; i < choices.size(); ++i)
      if (same(choices[i])) ++count, where = i;
    return {count, where};
  };
  if (auto [count, where] = find([&](const std::string& choice) { return FoldCase(choice) == folded; }); count == 1) return where;
  if (std::optional<size_t> letter = ChoiceLetter(text); letter && *letter < choices.size()) return letter;
  if (auto [count, where] = find([&](const std::string& choice) { return AnswersMatch(text, choice); }); count == 1) return where;
  return std::nullopt;
}

std::optional<size_t> ResolveAcceptedChoice(std::string_view text, const std::vector<std::string>& choices) {
  if (std::optional<size_t> index = ResolveChoice(text, choices)) return index;
  size_t index = 0;
  std::string_view digits = TrimSpace(text);
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (error == std::errc() && end == digits.data() + digits.size() && index < choices.size()) return index;
  return std::nullopt;
}

}  // namespace candor
