#include "coordinator/epoch.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "core/fs.h"

namespace candor {

namespace {
constexpr int kTakeAttempts = 100;
std::string EpochPath(const std::string& run_dir, uint64_t number) { return fmt::format("{}/epoch.{}", run_dir, number); }
}  // namespace

std::vector<uint64_t> NumberedEntries(const std::string& folder, const std::string& prefix) {
  std::vector<uint64_t> numbers;
  std::error_code error;
  for (std::filesystem::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::string name = at->path().filename().string();
    uint64_t number = 0;
    if (!name.starts_with(prefix)) continue;
    auto [stop, bad] = std::from_chars(name.data() + prefix.size(), name.data() + name.size(), number);
    if (bad == std::errc() && stop == name.data() + name.size()) numbers.push_back(number);
  }
  std::sort(numbers.begin(), numbers.end());
  return numbers;
}

Result<Epoch> Epoch::Take(const std::string& run_dir, const std::string& who) {
  for (int attempt = 0; attempt < kTakeAttempts; ++attempt) {
    std::vector<uint64_t> taken = NumberedEntries(run_dir, "epoch.");
    uint64_t number = taken.empty() ? 1 : taken.back() + 1;
    Status created = CreateExclusive(EpochPath(run_dir, number), who);
    if (created) return Epoch(run_dir, number);
    if (created.error().code != ErrorCode::kUnavailable) return Fail(created.error());
  }
  return Fail(ErrorCode::kUnavailable, "many coordinators start at once in this run", run_dir, "keep one");
}

Status Epoch::CheckStillOurs() const {
  if (!FileExists(EpochPath(run_dir_, number_ + 1))) return {};
  return Fail(ErrorCode::kUnavailable, fmt::format("a newer coordinator (epoch {}) has taken over", number_ + 1), run_dir_,
              "this process ends; the newer one goes on");
}

}  // namespace candor
