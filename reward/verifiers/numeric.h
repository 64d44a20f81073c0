// Numbers as people write them, exactly: integers, decimals, exponents, thousands separators, fractions, mixed numbers, percent, LaTeX
// \frac, a leading currency sign. GMP rationals, so that 1/3 is a third and 0.1 + 0.2 is no concern. Pure, any thread.
#pragma once
#include <gmpxx.h>

#include <optional>
#include <string_view>

namespace candor {

// nullopt: not one number. The whole text must be the number; a full stop behind it is forgiven. At most 256 characters and exponents
// within ±1000.
//   "1,234.5" "-0.5" "−3" (Unicode minus) "1e-3" "3/4" "1 1/2" "50%" "$12" "\frac{3}{4}" ".5" "5."
// Not: "1,23" (a comma that separates no thousands), "nan", "inf", "1/0", "12 apples".
std::optional<mpq_class> ParseRational(std::string_view text);

// |answer - accepted| <= max(absolute, relative * |accepted|), in exact arithmetic.
bool WithinTolerance(const mpq_class& answer, const mpq_class& accepted, double absolute, double relative);

}  // namespace candor
