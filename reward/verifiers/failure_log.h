// A verifier that is down fails thousands of times; its log says so ten times, then at every hundredth failure.
#pragma once
#include <atomic>
#include <string>

#include "core/log.h"

namespace candor {

class FailureLog {
 public:
  // Any thread.
  void Note(const std::string& verifier, const std::string& request, const Error& error) {
    uint64_t count = ++count_;
    if (count <= 10 || count % 100 == 0)
      spdlog::warn("verifier or judge '{}' failed for the {}. time, on {}: {}", verifier, count, request, error.Message());
  }

 private:
  std::atomic<uint64_t> count_ = 0;
};

}  // namespace candor
