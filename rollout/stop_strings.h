// Texts that end a trace, found exactly in the decoded text, also where they spread over several tokens or begin inside one. Pure; any
// thread.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace candor {

struct StopMatch {
  size_t stop = 0;  // which of the texts
  int64_t end = 0;  // byte behind it
};

class StopStrings {
 public:
  StopStrings() = default;
  // Empty texts are left out.
  explicit StopStrings(std::vector<std::string> stops);
  const std::vector<std::string>& stops() const { return stops_; }
  // The match that ends first among those ending behind byte `seen` (how much of `text` was searched before); of two that end together, the
  // first in the list.
  std::optional<StopMatch> Find(std::string_view text, int64_t seen) const;

 private:
  std::vector<std::string> stops_;
};

}  // namespace candor
