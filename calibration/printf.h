// printf into a std::string, for the drawings of this folder.
#pragma once
#include <cmath>
#include <cstdarg>
#include <cstdio>
#include <string>

namespace candor::calibration {

[[gnu::format(printf, 1, 2)]] inline std::string Printf(const char* format, ...) {
  va_list arguments, copy;
  va_start(arguments, format);
  va_copy(copy, arguments);
  const int size = std::vsnprintf(nullptr, 0, format, copy);
  va_end(copy);
  std::string text(size > 0 ? size : 0, '\0');
  std::vsnprintf(text.data(), text.size() + 1, format, arguments);
  va_end(arguments);
  return text;
}

// "0.123", or "–" where it is undefined; `sign` writes + before a positive number.
inline std::string Shown(double value, int digits = 3, bool sign = false) {
  return std::isfinite(value) ? Printf(sign ? "%+.*f" : "%.*f", digits, value) : "\u2013";
}

}  // namespace candor::calibration
