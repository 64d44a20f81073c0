// Multiple choice: an answer given as a letter, a letter with its text, or the text alone, resolved to the index of a choice. Pure, any
// thread.
#pragma once
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"

namespace candor {

// "B", "b", "(B)", "B.", "B)", "B: Paris", "option B", "answer: B" → 1. nullopt when the text does not begin so ("A dog" is a text, not the
// letter A).
std::optional<size_t> ChoiceLetter(std::string_view text);

struct Choices {
  std::vector<std::string> texts;
  std::vector<std::string> labels;  // what each is called in the row; empty where the row does not say
};
// The choices of a row's JSON under `field`: ["Paris", "Lyon"], or {"label": [..], "text": [..]} (ARC's shape; labels are A, B, C, .. or 1,
// 2, 3, .. or any others that differ). Empty when the row has no such field.
Result<Choices> ReadChoices(const std::string& row_json, const std::string& field);

// The choice that a text means: exactly its text, else its label ("2", "(2)", "2. Lyon"), else its letter. nullopt: none, or several
// choices have that text.
std::optional<size_t> ResolveChoice(std::string_view text, const Choices& choices);
// As above for an accepted answer: a label first; where there are no labels it may also be a 0-based index ("2").
std::optional<size_t> ResolveAcceptedChoice(std::string_view text, const Choices& choices);

}  // namespace candor
