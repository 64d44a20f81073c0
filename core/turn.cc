#include "core/turn.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <thread>
#include <utility>

#include "core/clock.h"
#include "core/fs.h"

namespace candor {

namespace {

constexpr int kPauseMs = 1;

Result<int> OpenFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return Fail(ErrorCode::kIo, fmt::format("cannot open the file of a turn: {}", std::strerror(errno)), path);
  return fd;
}

// True: locked. False: somebody else holds it. The descriptor is closed unless it is locked.
Result<bool> TryLock(const std::string& path, int how, int& fd) {
  CANDOR_ASSIGN(fd, OpenFile(path));
  if (::flock(fd, how | LOCK_NB) == 0) return true;
  const int number = errno;
  ::close(std::exchange(fd, -1));
  if (number == EWOULDBLOCK) return false;
  return Fail(ErrorCode::kIo, fmt::format("cannot lock: {}", std::strerror(number)), path);
}

}  // namespace

Turn::Hold::Hold(Hold&& other) noexcept : want_(std::exchange(other.want_, -1)), use_(std::exchange(other.use_, -1)) {}
Turn::Hold& Turn::Hold::operator=(Hold&& other) noexcept {
  std::swap(want_, other.want_), std::swap(use_, other.use_);
  return *this;
}
Turn::Hold::~Hold() {
  if (use_ >= 0) ::close(use_);
  if (want_ >= 0) ::close(want_);
}

Result<Turn> Turn::Open(const std::string& run_dir, const std::string& folder) {
  const std::string whole = std::filesystem::absolute(run_dir).lexically_normal().string();
  Turn turn(fmt::format("{}/candor-turn-{}-{}", folder, ::geteuid(), HashHex(whole).substr(0, 12)));
  for (const char* kind : {".want", ".use"}) {
    CANDOR_ASSIGN(const int fd, OpenFile(turn.path_ + kind));
    ::close(fd);
  }
  return turn;
}

Result<std::optional<Turn::Hold>> Turn::TryShare() const {
  Hold hold;
  CANDOR_ASSIGN(const bool unwanted, TryLock(path_ + ".want", LOCK_SH, hold.want_));
  if (!unwanted) return std::optional<Hold>();
  CANDOR_ASSIGN(const bool free, TryLock(path_ + ".use", LOCK_SH, hold.use_));
  ::close(std::exchange(hold.want_, -1));  // a learner may say now that it is next
  if (!free) return std::optional<Hold>();
  return std::optional<Hold>(std::move(hold));
}

Result<Turn::Hold> Turn::TakeWhole(int deadline_ms) const {
  const SystemClock clock;
  const int64_t end_ms = clock.SteadyMs() + deadline_ms;
  Hold hold;
  for (const auto& [kind, fd] : {std::pair{".want", &hold.want_}, std::pair{".use", &hold.use_}}) {
    for (;;) {
      CANDOR_ASSIGN(const bool taken, TryLock(path_ + kind, LOCK_EX, *fd));
      if (taken) break;
      if (clock.SteadyMs() > end_ms)
        return Fail(ErrorCode::kUnavailable, fmt::format("waited {} ms for the device's turn", deadline_ms), path_ + kind,
                    "a rollout holds it within one engine step; see whether one hangs");
      std::this_thread::sleep_for(std::chrono::milliseconds(kPauseMs));
    }
  }
  return hold;
}

}  // namespace candor
