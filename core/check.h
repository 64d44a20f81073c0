// Programmer's errors: CANDOR_CHECK aborts with the condition, the place and a message. It stays on in release builds.
#pragma once
#include <cstdio>
#include <cstdlib>
#include <string>

namespace candor {
[[noreturn]] inline void CheckFailed(const char* condition, const char* file, int line, const std::string& message) {
  std::fprintf(stderr, "candor: check failed: %s at %s:%d: %s\n", condition, file, line, message.c_str());
  std::fflush(stderr);
  std::abort();
}
}  // namespace candor

#define CANDOR_CHECK(condition, ...)                                                                      \
  do {                                                                                                    \
    if (!(condition)) ::candor::CheckFailed(#condition, __FILE__, __LINE__, std::string("" __VA_ARGS__)); \
  } while (0)
