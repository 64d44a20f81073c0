#include "reward/verifiers/choice.h"

#include <charconv>
#include <nlohmann/json.hpp>
#include <set>

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

// The label (folded) with which a text begins, as the letter of ChoiceLetter: "2", "(2)", "2.", "2) Lyon". "2.5" is a number of its own.
std::optional<size_t> LabelIn(std::string_view text, const std::vector<std::string>& labels) {
  const std::string folded = FoldCase(WithoutLeadingWord(TrimSpace(text)));
  const bool parenthesis = folded.starts_with("(");
  for (size_t i = 0; i < labels.size(); ++i) {
    std::string_view rest = std::string_view(folded).substr(parenthesis ? 1 : 0);
    if (labels[i].empty() || !rest.starts_with(labels[i])) continue;
    rest.remove_prefix(labels[i].size());
    const bool ends = rest.empty() || rest[0] == ')' || rest[0] == ':' || rest == "." || rest.starts_with(". ");
    if (parenthesis ? rest.starts_with(")") : ends) return i;
  }
  return std::nullopt;
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

Result<Choices> ReadChoices(const std::string& row_json, const std::string& field) {
  const nlohmann::json row = nlohmann::json::parse(row_json, nullptr, false);
  if (!row.is_object() || !row.contains(field)) return Choices{};
  const nlohmann::json* list = &row[field];
  const nlohmann::json* labels = list->is_object() && list->contains("label") ? &(*list)["label"] : nullptr;
  if (list->is_object() && list->contains("text")) list = &(*list)["text"];
  if (!list->is_array() || list->empty() || list->size() > kMaxChoices)
    return Fail(ErrorCode::kInvalidInput, "the row's " + field + " is not a list of 1 to 26 choices");
  if (labels != nullptr && (!labels->is_array() || labels->size() != list->size()))
    return Fail(ErrorCode::kInvalidInput, "the row's " + field + " does not have one label for each choice");
  const auto text_of = [](const nlohmann::json& value) { return value.is_string() ? value.get<std::string>() : value.dump(); };
  Choices choices;
  for (const nlohmann::json& choice : *list) choices.texts.push_back(text_of(choice));
  if (labels == nullptr) return choices;
  for (const nlohmann::json& label : *labels) choices.labels.push_back(FoldCase(text_of(label)));
  if (std::set<std::string>(choices.labels.begin(), choices.labels.end()).size() != choices.labels.size())
    return Fail(ErrorCode::kInvalidInput, "the row's " + field + " gives two choices the same label");
  return choices;
}

std::optional<size_t> ResolveChoice(std::string_view text, const Choices& choices) {
  std::string folded = FoldCase(text);
  auto find = [&](auto&& same) -> std::pair<size_t, size_t> {  // how many, the last of them
    size_t count = 0, where = 0;
    for (size_t i = 0; i < choices.texts.size(); ++i)
      if (same(choices.texts[i])) ++count, where = i;
    return {count, where};
  };
  if (auto [count, where] = find([&](const std::string& choice) { return FoldCase(choice) == folded; }); count == 1) return where;
  if (std::optional<size_t> label = LabelIn(text, choices.labels)) return label;
  if (std::optional<size_t> letter = ChoiceLetter(text); letter && *letter < choices.texts.size()) return letter;
  if (auto [count, where] = find([&](const std::string& choice) { return AnswersMatch(text, choice); }); count == 1) return where;
  return std::nullopt;
}

std::optional<size_t> ResolveAcceptedChoice(std::string_view text, const Choices& choices) {
  if (std::optional<size_t> label = LabelIn(text, choices.labels)) return label;
  if (std::optional<size_t> index = ResolveChoice(text, choices)) return index;
  if (!choices.labels.empty()) return std::nullopt;
  size_t index = 0;
  std::string_view digits = TrimSpace(text);
  auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), index);
  if (error == std::errc() && end == digits.data() + digits.size() && index < choices.texts.size()) return index;
  return std::nullopt;
}

}  // namespace candor
