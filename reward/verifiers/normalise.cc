#include "reward/verifiers/normalise.h"

#include <unicode/locid.h>
#include <unicode/uchar.h>
#include <unicode/unistr.h>

#include <algorithm>
#include <map>

namespace candor {

namespace {

// Python's \w: alphanumeric by str.isalnum, or underscore.
bool IsWordCharacter(UChar32 c) {
  if (c == '_') return true;
  constexpr uint32_t kAlphanumeric =
      U_GC_LU_MASK | U_GC_LL_MASK | U_GC_LT_MASK | U_GC_LM_MASK | U_GC_LO_MASK | U_GC_ND_MASK | U_GC_NL_MASK | U_GC_NO_MASK;
  if ((U_MASK(u_charType(c)) & kAlphanumeric) != 0) return true;
  return u_getIntPropertyValue(c, UCHAR_NUMERIC_TYPE) != U_NT_NONE;  // CJK numerals of other categories
}
// Python's str.isspace: Unicode white space and the four ASCII separators.
bool IsSpaceCharacter(UChar32 c) { return (0x1c <= c && c <= 0x1f) || u_isUWhiteSpace(c); }
bool IsAsciiPunctuation(char32_t c) {
  return (0x21 <= c && c <= 0x2f) || (0x3a <= c && c <= 0x40) || (0x5b <= c && c <= 0x60) || (0x7b <= c && c <= 0x7e);
}

icu::UnicodeString Lower(std::string_view text) {
  icu::UnicodeString unicode = icu::UnicodeString::fromUTF8(icu::StringPiece(text.data(), static_cast<int32_t>(text.size())));
  unicode.toLower(icu::Locale::getRoot());
  return unicode;
}

std::u32string CodePointsWithoutPunctuation(const icu::UnicodeString& text) {
  std::u32string out;
  out.reserve(static_cast<size_t>(text.length()));
  for (int32_t i = 0; i < text.length();) {
    UChar32 c = text.char32At(i);
    i += U16_LENGTH(c);
    char32_t point = static_cast<char32_t>(c);
    if (!IsAsciiPunctuation(point)) out += point;
  }
  return out;
}

// The length of an article that stands as a whole word at `at`, else 0.
size_t ArticleAt(const std::u32string& text, size_t at) {
  if (at > 0 && IsWordCharacter(static_cast<UChar32>(text[at - 1]))) return 0;
  for (std::u32string_view article : {U"a", U"an", U"the"}) {
    size_t end = at + article.size();
    if (text.compare(at, article.size(), article) != 0) continue;
    if (end == text.size() || !IsWordCharacter(static_cast<UChar32>(text[end]))) return article.size();
  }
  return 0;
}

std::string CollapseSpace(const std::u32string& text) {
  std::u32string out;
  bool pending = false;
  for (char32_t c : text) {
    if (IsSpaceCharacter(static_cast<UChar32>(c))) {
      pending = !out.empty();
      continue;
    }
    if (pending) out += U' ', pending = false;
    out += c;
  }
  std::string utf8;
  icu::UnicodeString::fromUTF32(reinterpret_cast<const UChar32*>(out.data()), static_cast<int32_t>(out.size())).toUTF8String(utf8);
  return utf8;
}

constexpr size_t kMaxAnswerBytes = size_t{1} << 20;  // ICU counts in int32; no real answer is longer

bool IsClosedAnswer(const std::string& normalised) { return normalised == "yes" || normalised == "no" || normalised == "noanswer"; }

}  // namespace

std::string NormaliseAnswer(std::string_view text) {
  std::u32string bare = CodePointsWithoutPunctuation(Lower(text.substr(0, kMaxAnswerBytes)));
  std::u32string without_articles;
  without_articles.reserve(bare.size());
  for (size_t i = 0; i < bare.size();) {
    if (size_t length = ArticleAt(bare, i)) {
      without_articles += U' ';
      i += length;
    } else {
      without_articles += bare[i++];
    }
  }
  return CollapseSpace(without_articles);
}

std::string FoldCase(std::string_view text) {
  std::string utf8;
  Lower(TrimSpace(text.substr(0, kMaxAnswerBytes))).toUTF8String(utf8);
  return utf8;
}

std::string_view TrimSpace(std::string_view text) {
  constexpr std::string_view kSpace = " \t\n\r\f\v";
  size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

std::vector<std::string> SplitWords(std::string_view normalised) {
  std::vector<std::string> words;
  for (size_t at = 0; at < normalised.size();) {
    size_t end = std::min(normalised.find(' ', at), normalised.size());
    if (end > at) words.emplace_back(normalised.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

bool AnswersMatch(std::string_view answer, std::string_view accepted) {
  std::string left = NormaliseAnswer(answer), right = NormaliseAnswer(accepted);
  if (left.empty() && right.empty()) {
    std::string folded = FoldCase(answer);
    return !folded.empty() && folded == FoldCase(accepted);
  }
  return left == right;
}

double TokenF1(std::string_view answer, std::string_view accepted) {
  std::string left = NormaliseAnswer(answer), right = NormaliseAnswer(accepted);
  if (left.empty() && right.empty()) return AnswersMatch(answer, accepted) ? 1.0 : 0.0;
  if ((IsClosedAnswer(left) || IsClosedAnswer(right)) && left != right) return 0.0;
  std::vector<std::string> answer_words = SplitWords(left), accepted_words = SplitWords(right);
  std::map<std::string, int> remaining;
  for (const std::string& word : accepted_words) ++remaining[word];
  size_t common = 0;
  for (const std::string& word : answer_words)
    if (auto found = remaining.find(word); found != remaining.end() && found->second > 0) --found->second, ++common;
  if (common == 0) return 0.0;
  double precision = static_cast<double>(common) / static_cast<double>(answer_words.size());
  double recall = static_cast<double>(common) / static_cast<double>(accepted_words.size());
  return 2.0 * precision * recall / (precision + recall);
}

}  // namespace candor
