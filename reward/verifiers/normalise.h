// Text normalisation of the SQuAD evaluation (Rajpurkar et al. 2016; normalize_answer of the official script): lower case, without ASCII
// punctuation, without the words a/an/the, white space collapsed. On ICU, equal to Python's rule on Unicode text. Pure, any thread.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace candor {

// Invalid UTF-8 is read as U+FFFD.
std::string NormaliseAnswer(std::string_view text);
// Lower case and trimmed, nothing else.
std::string FoldCase(std::string_view text);
std::string_view TrimSpace(std::string_view text);
std::vector<std::string> SplitWords(std::string_view normalised);

// Equal after normalisation. Where both normalise to nothing ("A" and "the", "+" and "-") the unnormalised texts are compared instead, case
// aside.
bool AnswersMatch(std::string_view answer, std::string_view accepted);

// Token F1 of two texts after normalisation, with HotpotQA's exception: yes, no and noanswer match only themselves (hotpot_evaluate_v1.py).
double TokenF1(std::string_view answer, std::string_view accepted);

}  // namespace candor
