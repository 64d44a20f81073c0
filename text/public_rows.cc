#include "text/public_rows.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/check.h"
#include "core/fs.h"

namespace candor {

PublicSplit& PublicRows::Split(const std::string& name) {
  const auto found = std::find_if(splits.begin(), splits.end(), [&](const PublicSplit& split) { return split.name == name; });
  CANDOR_CHECK(found != splits.end());
  return *found;
}

const PublicSplit& PublicRows::Split(const std::string& name) const { return const_cast<PublicRows*>(this)->Split(name); }

Status CheckFull(const PublicRows& rows, const std::string& path) {
  for (const PublicSplit& split : rows.splits) {
    if (split.full()) continue;
    std::vector<std::string> counts, reasons;
    for (const PublicSplit& one : rows.splits) counts.push_back(fmt::format("{} {}", one.name, one.lines.size()));
    for (const auto& [reason, records] : rows.dropped) reasons.push_back(fmt::format("{} {}", records, reason));
    return Fail(ErrorCode::kInvalidInput,
                fmt::format("{} rows were wanted for {}, and the {} records read gave {} (left out: {})", split.wanted, split.name,
                            rows.read, fmt::join(counts, ", "), reasons.empty() ? "none" : fmt::format("{}", fmt::join(reasons, ", "))),
                path, fmt::format("give the whole file, or lower --{}-rows", split.name));
  }
  return {};
}

uint64_t NameBits(const std::string& name) { return std::stoull(HashHex(name).substr(0, 16), nullptr, 16); }

}  // namespace candor
