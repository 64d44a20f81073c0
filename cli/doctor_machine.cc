// What `candor doctor` asks of the machine: limits, name spaces, and the file system that a run's folder would lie on.
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <vector>

#include "cli/checkup.h"
#include "core/clock.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

constexpr double kSlowSyncMs = 50, kClockSkewS = 2;
constexpr uint64_t kMemlockBytes = uint64_t{64} << 20;

std::string LimitText(rlim_t limit) { return limit == RLIM_INFINITY ? "unlimited" : std::to_string(limit); }

// One path in the folder, removed at the end.
struct Probe {
  explicit Probe(const std::string& folder, const char* what) : path(fmt::format("{}/.candor-doctor-{}-{}", folder, what, ::getpid())) {}
  ~Probe() { ::unlink(path.c_str()); }
  const std::string path;
};

void CheckLink(Checkup& checkup, const std::string& folder) {
  const Probe probe(folder, "link");
  Status linked = CreateExclusive(probe.path, "x");
  if (!linked) return checkup.Add(Verdict::kBad, "link(2)", linked.error().Message());
  const bool second = CreateExclusive(probe.path, "y").has_value();
  checkup.Add(second ? Verdict::kBad : Verdict::kGood, "link(2)",
              second ? "two processes could both create one file: put state_dir on another file system"
                     : "atomic: a run's incarnations can be fenced");
}

void CheckRename(Checkup& checkup, const std::string& folder) {
  const Probe from(folder, "from"), to(folder, "to");
  const bool made = WriteFileAtomic(from.path, "new", false) && WriteFileAtomic(to.path, "old", false);
  const bool renamed = made && ::rename(from.path.c_str(), to.path.c_str()) == 0;
  const auto text = ReadFile(to.path);
  const bool good = renamed && text && *text == "new";
  checkup.Add(good ? Verdict::kGood : Verdict::kBad, "rename over a file",
              good ? "replaces it" : "fails: checkpoints could not be published here");
}

void CheckLock(Checkup& checkup, const std::string& folder) {
  const Probe probe(folder, "lock");
  const int fd = ::open(probe.path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC, 0600);
  struct flock lock {};
  lock.l_type = F_WRLCK, lock.l_whence = SEEK_SET;
  const bool good = fd >= 0 && ::fcntl(fd, F_SETLK, &lock) == 0;
  checkup.Add(good ? Verdict::kGood : Verdict::kBad, "fcntl lock",
              good ? "taken" : fmt::format("{}: RocksDB needs it for the ledger; set state_dir", std::strerror(errno)));
  if (fd >= 0) ::close(fd);
}

void CheckSync(Checkup& checkup, const std::string& folder) {
  const Probe probe(folder, "sync");
  std::vector<double> ms;
  const int fd = ::open(probe.path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
  for (int i = 0; fd >= 0 && i < 9; ++i) {
    const double start = SteadySeconds();
    if (::write(fd, "0123456789abcdef", 16) != 16 || ::fsync(fd) != 0) break;
    ms.push_back((SteadySeconds() - start) * 1000);
  }
  if (fd >= 0) ::close(fd);
  if (ms.empty()) return checkup.Add(Verdict::kBad, "write and fsync", std::strerror(errno));
  std::sort(ms.begin(), ms.end());
  const double median = ms[ms.size() / 2];
  checkup.Add(median <= kSlowSyncMs ? Verdict::kGood : Verdict::kOptional, "write and fsync",
              fmt::format("{:.1f} ms{}", median,
                          median <= kSlowSyncMs ? "" : ": every commit of the ledger waits so long; set state_dir to a faster disk"));
}

// A file's time is its server's, which on a shared file system is another machine.
void CheckFileClock(Checkup& checkup, const std::string& folder) {
  const Probe probe(folder, "clock");
  const double before = static_cast<double>(SystemClock().WallMs()) / 1000;
  struct stat info {};
  if (!WriteFileAtomic(probe.path, "x", false) || ::stat(probe.path.c_str(), &info) != 0) return;
  const double made = static_cast<double>(info.st_mtim.tv_sec) + static_cast<double>(info.st_mtim.tv_nsec) * 1e-9;
  const double skew = made - before;
  checkup.Add(std::fabs(skew) <= kClockSkewS ? Verdict::kGood : Verdict::kOptional, "clock and file times",
              fmt::format("{:+.2f} s apart{}", skew,
                          std::fabs(skew) <= kClockSkewS ? "" : ": logs of different hosts will not line up; run chrony"));
}

}  // namespace

void CheckLimits(Checkup& checkup) {
  struct rlimit files {
  }, locked{}, processes{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  ::getrlimit(RLIMIT_MEMLOCK, &locked);
  ::getrlimit(RLIMIT_NPROC, &processes);
  checkup.Add(files.rlim_cur >= 1024 ? Verdict::kGood : Verdict::kBad, "open files (nofile)",
              LimitText(files.rlim_cur) + (files.rlim_cur >= 1024 ? "" : "; raise it: ulimit -n 4096"));
  const bool enough = locked.rlim_cur == RLIM_INFINITY || locked.rlim_cur >= kMemlockBytes;
  checkup.Add(
      enough ? Verdict::kGood : Verdict::kOptional, "locked memory (memlock)",
      LimitText(locked.rlim_cur) + (enough ? "" : " bytes; NCCL over InfiniBand needs unlimited: ask the site, or LimitMEMLOCK of slurmd"));
  const bool many = processes.rlim_cur == RLIM_INFINITY || processes.rlim_cur >= 512;
  checkup.Add(many ? Verdict::kGood : Verdict::kBad, "processes (nproc)",
              LimitText(processes.rlim_cur) + (many ? "" : "; raise it: ulimit -u 4096"));
  struct statvfs shm {};
  if (::statvfs("/dev/shm", &shm) != 0) return checkup.Add(Verdict::kBad, "/dev/shm", "is not there; MPI ranks on one machine need it");
  const double megabytes = static_cast<double>(shm.f_bavail) * static_cast<double>(shm.f_frsize) / 1e6;
  checkup.Add(megabytes >= 64 ? Verdict::kGood : Verdict::kBad, "/dev/shm",
              std::to_string(static_cast<long>(megabytes)) + " MB free" + (megabytes >= 64 ? "" : "; MPI ranks need 64 MB"));
}

void CheckNamespaces(Checkup& checkup) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(::unshare(CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET) == 0 ? 0 : 1);
  int status = 1;
  if (child > 0) ::waitpid(child, &status, 0);
  const bool good = child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
  checkup.Add(
      good ? Verdict::kGood : Verdict::kOptional, "user name spaces",
      good ? "verifiers can be shut in without root"
           : "refused by this kernel: rewards that run the model's code cannot be isolated here (sysctl kernel.unprivileged_userns_clone)");
}

void CheckFileSystem(Checkup& checkup, const std::string& folder) {
  CheckLink(checkup, folder);
  CheckRename(checkup, folder);
  CheckLock(checkup, folder);
  CheckSync(checkup, folder);
  CheckFileClock(checkup, folder);
}

}  // namespace candor::cli
