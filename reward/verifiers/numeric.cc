#include "reward/verifiers/numeric.h"

#include <algorithm>
#include <string>

#include "reward/verifiers/normalise.h"

namespace candor {

namespace {

constexpr size_t kMaxCharacters = 256;
constexpr int kMaxExponent = 1000;  // 10^1000 is 3,300 bits: bounded work for any text

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool EatPrefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}
bool EatSuffix(std::string_view& text, std::string_view suffix) {
  if (!text.ends_with(suffix)) return false;
  text.remove_suffix(suffix.size());
  return true;
}

mpz_class PowerOfTen(unsigned exponent) {
  mpz_class power;
  mpz_ui_pow_ui(power.get_mpz_t(), 10, exponent);
  return power;
}

// Digits with optional thousands separators: "1234" or "1,234,567"; appends the digits.
bool EatInteger(std::string_view& text, std::string& digits) {
  size_t run = 0;
  while (run < text.size() && IsDigit(text[run])) ++run;
  if (run == 0) return false;
  digits.append(text.substr(0, run));
  bool grouped = run <= 3 && text.size() > run && text[run] == ',';
  text.remove_prefix(run);
  while (grouped && text.starts_with(",")) {
    if (text.size() < 4 || !IsDigit(text[1]) || !IsDigit(text[2]) || !IsDigit(text[3]) || (text.size() > 4 && IsDigit(text[4])))
      return false;
    digits.append(text.substr(1, 3));
    text.remove_prefix(4);
  }
  return true;
}

// "e-12": the exponent, or nullopt when it is malformed or out of bounds. 0 when there is none.
std::optional<int> EatExponent(std::string_view& text) {
  if (text.empty() || (text[0] != 'e' && text[0] != 'E')) return 0;
  text.remove_prefix(1);
  bool negative = EatPrefix(text, "-");
  if (!negative) EatPrefix(text, "+");
  if (text.empty() || !IsDigit(text[0])) return std::nullopt;
  int exponent = 0;
  for (; !text.empty() && IsDigit(text[0]); text.remove_prefix(1)) {
    exponent = exponent * 10 + (text[0] - '0');
    if (exponent > kMaxExponent) return std::nullopt;
  }
  return negative ? -exponent : exponent;
}

// An unsigned integer or decimal, with separators and exponent; the whole of `text`.
std::optional<mpq_class> ParseDecimal(std::string_view text) {
  std::string digits;
  bool has_integer = !text.empty() && IsDigit(text[0]);
  if (has_integer && !EatInteger(text, digits)) return std::nullopt;
  int scale = 0;
  if (EatPrefix(text, ".")) {
    for (; !text.empty() && IsDigit(text[0]); text.remove_prefix(1)) digits += text[0], ++scale;
    if (scale == 0 && !has_integer) return std::nullopt;
  }
  if (digits.empty()) return std::nullopt;
  std::optional<int> exponent = EatExponent(text);
  if (!exponent || !text.empty()) return std::nullopt;
  mpq_class value{mpz_class(digits, 10)};
  int power = *exponent - scale;
  if (power >= 0)
    value *= PowerOfTen(static_cast<unsigned>(power));
  else
    value /= PowerOfTen(static_cast<unsigned>(-power));
  return value;
}

std::optional<mpq_class> Quotient(std::string_view numerator, std::string_view denominator) {
  std::optional<mpq_class> top = ParseDecimal(TrimSpace(numerator)), bottom = ParseDecimal(TrimSpace(denominator));
  if (!top || !bottom || *bottom == 0) return std::nullopt;
  return mpq_class(*top / *bottom);
}

// "\frac{a}{b}", also dfrac and tfrac.
std::optional<mpq_class> ParseLatexFraction(std::string_view text) {
  if (!EatPrefix(text, "\\frac{") && !EatPrefix(text, "\\dfrac{") && !EatPrefix(text, "\\tfrac{")) return std::nullopt;
  size_t middle = text.find("}{");
  if (middle == std::string_view::npos || !text.ends_with("}")) return std::nullopt;
  return Quotient(text.substr(0, middle), text.substr(middle + 2, text.size() - middle - 3));
}

std::optional<mpq_class> ParseUnsigned(std::string_view text) {
  if (text.starts_with("\\")) return ParseLatexFraction(text);
  size_t slash = text.find('/');
  if (slash == std::string_view::npos) return ParseDecimal(text);
  std::string_view numerator = TrimSpace(text.substr(0, slash)), denominator = text.substr(slash + 1);
  size_t space = numerator.rfind(' ');
  if (space == std::string_view::npos) return Quotient(numerator, denominator);
  std::optional<mpq_class> whole = ParseDecimal(TrimSpace(numerator.substr(0, space)));  // "1 1/2"
  std::optional<mpq_class> part = Quotient(numerator.substr(space + 1), denominator);
  if (!whole || !part) return std::nullopt;
  return mpq_class(*whole + *part);
}

}  // namespace

std::optional<mpq_class> ParseRational(std::string_view text) {
  text = TrimSpace(text);
  if (text.size() > kMaxCharacters) return std::nullopt;
  if (text.size() > 2 && text.front() == '$' && text.back() == '$') text = text.substr(1, text.size() - 2);  // inline LaTeX
  text = TrimSpace(text);
  if (text.size() > 1 && text.back() == '.' && text[text.size() - 2] != '.') text.remove_suffix(1);
  bool negative = false, currency = false;
  for (bool again = true; again;) {  // sign and currency in either order, each once: "-$5", "$-5"
    again = false;
    if (!negative && (EatPrefix(text, "-") || EatPrefix(text, "\xE2\x88\x92")))
      negative = again = true;
    else if (!currency && (EatPrefix(text, "$") || EatPrefix(text, "\\$") || EatPrefix(text, "€") || EatPrefix(text, "£")))
      currency = again = true;
  }
  if (!negative) EatPrefix(text, "+");
  bool percent = EatSuffix(text, "\\%") || EatSuffix(text, "%");
  std::optional<mpq_class> value = ParseUnsigned(TrimSpace(text));
  if (!value) return std::nullopt;
  if (percent) *value /= 100;
  if (negative) *value = -*value;
  return value;
}

bool WithinTolerance(const mpq_class& answer, const mpq_class& accepted, double absolute, double relative) {
  mpq_class difference = abs(answer - accepted);
  if (difference <= mpq_class(absolute)) return true;
  return difference <= mpq_class(relative) * abs(accepted);
}

}  // namespace candor
