#include "rollout/stop_strings.h"

#include <algorithm>

namespace candor {

StopStrings::StopStrings(std::vector<std::string> stops) {
  for (std::string& stop : stops)
    if (!stop.empty()) stops_.push_back(std::move(stop));
}

std::optional<StopMatch> StopStrings::Find(std::string_view text, int64_t seen) const {
  std::optional<StopMatch> best;
  for (size_t i = 0; i < stops_.size(); ++i) {
    // A match that ends behind `seen` begins at the earliest one byte after seen - length.
    const auto length = static_cast<int64_t>(stops_[i].size());
    const auto from = static_cast<size_t>(std::max<int64_t>(0, seen - length + 1));
    const size_t at = text.find(stops_[i], from);
    if (at == std::string_view::npos) continue;
    const int64_t end = static_cast<int64_t>(at) + length;
    if (!best || end < best->end) best = StopMatch{i, end};
  }
  return best;
}

}  // namespace candor
