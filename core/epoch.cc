#include "core/epoch.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace candor {

namespace {
constexpr int kTakeAttempts = 100;
std::string EpochPath(const std::string& folder, const std::string& prefix, uint64_t number) {
  return fmt::format("{}/{}{}", folder, prefix, number);
}
}  // namespace

std::vector<uint64_t> NumberedEntries(const std::string& folder, const std::string& prefix, Disk& disk) {
  std::vector<uint64_t> numbers;
  const Result<std::vector<std::string>> names = disk.List(folder);
  if (!names) return numbers;
  for (const std::string& name : *names) {
    uint64_t number = 0;
    if (!name.starts_with(prefix)) continue;
    auto [stop, bad] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number);
    if (bad == std::errc() && stop == name.data() + name.size()) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<Epoch> Epoch::Take(const std::string& folder, const std::string& who, const std::string& prefix, Disk& disk) {
  for (int attempt = 0; attempt < kTakeAttempts; ++attempt) {
    std::vector<uint64_t> taken = NumberedEntries(folder, prefix, disk);
    uint64_t number = taken.empty() ? 1 : taken.back() + 1;
    Status created = CreateExclusive(disk, EpochPath(folder, prefix, number), who);
    if (created) return Epoch(disk, folder, prefix, number);
    if (created.error().code != ErrorCode::kUnavailable) return Fail(created.error());
  }
  return Fail(ErrorCode::kUnavailable, "many incarnations of one process start at once", folder + "/" + prefix + "*", "keep one");
}

Status Epoch::CheckStillOurs() const {
  const std::string next = EpochPath(folder_, prefix_, number_ + 1);
  if (!disk_->Exists(next)) return {};
  return Fail(ErrorCode::kUnavailable, fmt::format("a newer incarnation (epoch {}) has taken over from epoch {}", number_ + 1, number_),
              next, "this process ends; the newer one goes on");
}

}  // namespace candor
