#include "core/state_probe.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>

#include "core/fs.h"
#include "core/launch.h"

namespace candor {

namespace {

constexpr int kSyncs = 5;
constexpr double kSlowSyncMs = 50, kUselessSyncMs = 5000;

std::string FileSystemOf(const std::string& folder) {
  struct Named {
    unsigned long magic;
    const char* name;
  };
  constexpr Named kNames[] = {{0xEF53, "ext4"},     {0x58465342, "xfs"},    {0x9123683E, "btrfs"},  {0x01021994, "tmpfs"},
                              {0x6969, "nfs"},      {0x0BD00BD0, "lustre"}, {0x19830326, "beegfs"}, {0x47504653, "gpfs"},
                              {0xFF534D42, "cifs"}, {0xFE534D42, "smb2"},   {0x65735546, "fuse"},   {0x794C7630, "overlay"},
                              {0x00C36400, "ceph"}, {0x2FC12FC1, "zfs"},    {0x01021997, "9p"},     {0x4D44, "vfat"},
                              {0x5346544E, "ntfs"}, {0x858458F6, "ramfs"},  {0x2011BAB0, "exfat"},  {0xAAD7AAEA, "panfs"}};
  struct statfs info {};
  if (::statfs(folder.c_str(), &info) != 0) return "unknown";
  const auto magic = static_cast<unsigned long>(info.f_type) & 0xFFFFFFFFUL;
  for (const Named& named : kNames)
    if (named.magic == magic) return named.name;
  return fmt::format("0x{:x}", magic);
}

// A POSIX lock is a process's own: only another process can tell whether it holds.
bool AnotherProcessSeesLock(int fd) {
  const pid_t child = ::fork();
  if (child == 0) {
    struct flock asked {};
    asked.l_type = F_WRLCK, asked.l_whence = SEEK_SET;
    const bool seen = ::fcntl(fd, F_GETLK, &asked) == 0 && asked.l_type != F_UNLCK;
    ::_exit(seen ? 0 : 1);
  }
  int status = 1;
  return child > 0 && ::waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

class Probing {
 public:
  Probing(std::string folder, const ProbeCalls& calls) : base_(fmt::format("{}/.candor-probe-{}", folder, ProcessToken())), calls_(calls) {}
  ~Probing() {
    for (const std::string& path : {First(), Second(), Third()}) ::unlink(path.c_str());
  }
  Result<StateProbe> Run(StateProbe probe) {
    CANDOR_TRY(WriteFileAtomic(First(), "first", false));
    CANDOR_TRY(WriteFileAtomic(Second(), "second", false));
    Link(probe);
    Rename(probe);
    Sync(probe);
    Lock(probe);
    return probe;
  }

 private:
  std::string First() const { return base_ + ".a"; }
  std::string Second() const { return base_ + ".b"; }
  std::string Third() const { return base_ + ".c"; }

  void Link(StateProbe& probe) {
    if (calls_.link(First().c_str(), Third().c_str()) != 0) {
      probe.unsafe.push_back(
          fmt::format("link(2) does not work ({}): two incarnations of a run could not be told apart", std::strerror(errno)));
      return;
    }
    if (calls_.link(Second().c_str(), Third().c_str()) == 0)
      probe.unsafe.push_back("link(2) replaces a file that is there: two incarnations could both win");
  }
  void Rename(StateProbe& probe) {
    if (calls_.rename(First().c_str(), Second().c_str()) != 0) {
      probe.unsafe.push_back(fmt::format("rename(2) over an existing file does not work ({})", std::strerror(errno)));
      return;
    }
    const Result<std::string> now = ReadFile(Second());
    if (!now || *now != "first") probe.unsafe.push_back("rename(2) did not replace the file: half-written files would be read");
  }
  void Sync(StateProbe& probe) {
    const int fd = ::open(Second().c_str(), O_WRONLY | O_APPEND | O_CLOEXEC);
    std::vector<double> took;
    for (int i = 0; fd >= 0 && i < kSyncs; ++i) {
      const auto start = std::chrono::steady_clock::now();
      const bool synced = ::write(fd, "x", 1) == 1 && calls_.fsync(fd) == 0;
      if (!synced) {
        probe.unsafe.push_back(fmt::format("fsync(2) does not work ({}): acknowledged records could be lost", std::strerror(errno)));
        break;
      }
      took.push_back(std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
      if (took.back() > kUselessSyncMs) break;
    }
    if (fd >= 0) ::close(fd);
    if (took.empty()) return;
    std::sort(took.begin(), took.end());
    probe.fsync_ms = took[took.size() / 2];
    if (probe.fsync_ms > kUselessSyncMs)
      probe.unsafe.push_back(fmt::format("one fsync takes {:.0f} s: every answer of the coordinator waits for one", probe.fsync_ms / 1000));
    else if (probe.fsync_ms > kSlowSyncMs)
      probe.warnings.push_back(
          fmt::format("one fsync takes {:.0f} ms: the coordinator answers that slowly; a faster state_dir helps", probe.fsync_ms));
  }
  void Lock(StateProbe& probe) {
    const int fd = ::open(Second().c_str(), O_RDWR | O_CLOEXEC);
    if (fd < 0 || !calls_.lock(fd))
      probe.unsafe.push_back(fmt::format("fcntl locks do not work ({}): the ledger's store cannot be opened", std::strerror(errno)));
    else if (!calls_.locked_by_other(fd))
      probe.unsafe.push_back("fcntl locks are granted but other processes do not see them: two could write one ledger");
    if (fd >= 0) ::close(fd);
  }

  const std::string base_;
  const ProbeCalls& calls_;
};

}  // namespace

ProbeCalls SystemProbeCalls() {
  ProbeCalls calls;
  calls.link = [](const char* from, const char* to) { return ::link(from, to); };
  calls.rename = [](const char* from, const char* to) { return std::rename(from, to); };
  calls.fsync = [](int fd) { return ::fsync(fd); };
  calls.lock = [](int fd) {
    struct flock asked {};
    asked.l_type = F_WRLCK, asked.l_whence = SEEK_SET;
    return ::fcntl(fd, F_SETLK, &asked) == 0;
  };
  calls.locked_by_other = AnotherProcessSeesLock;
  return calls;
}

Result<StateProbe> ProbeStateDir(const std::string& folder, const ProbeCalls& calls) {
  CANDOR_TRY(MakeFolders(folder));
  StateProbe probe;
  probe.file_system = FileSystemOf(folder);
  if (probe.file_system == "tmpfs" || probe.file_system == "ramfs")
    probe.warnings.push_back(probe.file_system + " lives in memory: a reboot loses the run's state");
  return Probing(folder, calls).Run(std::move(probe));
}

Status RequireSafeStateDir(const std::string& folder, const StateProbe& probe) {
  if (probe.unsafe.empty()) return {};
  std::string why;
  for (const std::string& one : probe.unsafe) why += (why.empty() ? "" : "; ") + one;
  return Fail(ErrorCode::kIo, fmt::format("the file system here ({}) cannot hold a run's state: {}", probe.file_system, why), folder,
              "set state_dir to a folder on another file system that all nodes see");
}

}  // namespace candor
