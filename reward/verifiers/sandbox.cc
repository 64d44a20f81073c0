#include "reward/verifiers/sandbox.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <utility>

#include "core/fs.h"
#include "reward/verifiers/command_verifier.h"
#include "reward/verifiers/syscall_filter.h"

namespace candor {

namespace {

constexpr size_t kMaxVerdictBytes = size_t{64} << 10, kMaxScript = size_t{64} << 10;
constexpr int kWatchMs = 50;
constexpr std::string_view kReady = "ready";  // as code_tester.py says it
constexpr uid_t kFirstUser = 0x70000000;      // far above what user databases hand out
constexpr size_t kMaxTree = 4096;

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { Close(); }
  int get() const { return fd_; }
  void Close() {
    if (fd_ >= 0) ::close(fd_);
    fd_ = -1;
  }

 private:
  int fd_ = -1;
};

Status OpenPipe(Fd& read, Fd& write) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) return Fail(ErrorCode::kIo, std::string("cannot make a pipe: ") + std::strerror(errno));
  read = Fd(ends[0]), write = Fd(ends[1]);
  return {};
}

// A file that holds the filter, for one bwrap: it reads it to the end.
Result<Fd> OpenFilter() {
  const std::string filter = SyscallFilter();
  Fd file(::memfd_create("filter", MFD_CLOEXEC));
  if (file.get() < 0 || ::write(file.get(), filter.data(), filter.size()) != static_cast<ssize_t>(filter.size()) ||
      ::lseek(file.get(), 0, SEEK_SET) != 0)
    return Fail(ErrorCode::kIo, std::string("cannot hand over the system call filter: ") + std::strerror(errno));
  return file;
}

std::vector<std::string> BwrapWords(size_t filter_fd) {
  std::vector<std::string> words = {"bwrap",
                                    "--seccomp",
                                    std::to_string(filter_fd),
                                    "--unshare-all",
                                    "--unshare-user",
                                    "--disable-userns",
                                    "--die-with-parent",
                                    "--new-session",
                                    "--clearenv",
                                    "--setenv",
                                    "PATH",
                                    "/usr/bin:/bin",
                                    "--setenv",
                                    "PYTHONDONTWRITEBYTECODE",
                                    "1",
                                    "--cap-drop",
                                    "ALL",
                                    "--hostname",
                                    "sandbox",
                                    "--ro-bind",
                                    "/usr",
                                    "/usr"};
  for (const char* folder : {"/lib", "/lib64", "/lib32", "/bin", "/sbin"}) {
    std::error_code error;
    if (std::filesystem::is_symlink(folder, error))
      words.insert(words.end(), {"--symlink", std::filesystem::read_symlink(folder, error).string(), folder});
    else
      words.insert(words.end(), {"--ro-bind-try", folder, folder});
  }
  words.insert(words.end(), {"--ro-bind-try",
                             "/etc/alternatives",
                             "/etc/alternatives",
                             "--ro-bind-try",
                             "/etc/ld.so.cache",
                             "/etc/ld.so.cache",
                             "--proc",
                             "/proc",
                             "--dev",
                             "/dev",
                             "--size",
                             "16777216",
                             "--tmpfs",
                             "/tmp",
                             "--size",
                             "1048576",
                             "--tmpfs",
                             "/dev/shm",
                             "--remount-ro",
                             "/",
                             "--chdir",
                             "/tmp"});
  return words;
}

// Only calls that are safe between fork and exec. `fds[i]` becomes descriptor i.
[[noreturn]] void Become(char* const* words, char* const* environment, const int* fds, int count, const SandboxLimits& limits, uid_t user,
                         pid_t parent) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  int high[8];
  for (int i = 0; i < count; ++i) high[i] = ::fcntl(fds[i], F_DUPFD, 32);
  for (int i = 0; i < count; ++i) ::dup2(high[i], i);
  ::close_range(static_cast<unsigned>(count), ~0u, 0);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  const auto limit = [](__rlimit_resource what, int64_t value) {
    rlimit both{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
    ::setrlimit(what, &both);
  };
  limit(RLIMIT_CORE, 0);
  limit(RLIMIT_NOFILE, 128);
  limit(RLIMIT_AS, limits.memory_mb << 20);
  limit(RLIMIT_FSIZE, limits.file_mb << 20);
  limit(RLIMIT_CPU, static_cast<int64_t>(limits.seconds) + 1);
  if (user != 0) {
    limit(RLIMIT_NPROC, limits.processes);
    if (::setgroups(0, nullptr) != 0 || ::setresgid(user, user, user) != 0 || ::setresuid(user, user, user) != 0) ::_exit(126);
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);  // a change of user clears it
    if (::getppid() != parent) ::_exit(127);
  }
  ::execvpe(words[0], words, environment);
  ::_exit(127);
}

class Process {
 public:
  Process() = default;
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;
  ~Process() { Kill(); }

  Status Start(std::vector<std::string> words, const std::vector<int>& fds, const SandboxLimits& limits, uid_t user) {
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    std::string path = "PATH=/usr/local/bin:/usr/bin:/bin";
    char* environment[] = {path.data(), nullptr};
    const pid_t parent = ::getpid();
    pid_ = ::fork();
    if (pid_ < 0) return Fail(ErrorCode::kIo, std::string("cannot fork: ") + std::strerror(errno), words[0]);
    if (pid_ == 0) Become(pointers.data(), environment, fds.data(), static_cast<int>(fds.size()), limits, user, parent);
    return {};
  }
  // Whoever is in its pid namespace dies with it.
  void Kill() {
    if (pid_ <= 0) return;
    ::kill(-pid_, SIGKILL);
    ::kill(pid_, SIGKILL);
    Reap();
  }
  int Reap() {
    int status = 0;
    while (::waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    return status;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
};

// Bytes that a process and all below it hold. A child that leaves its group or session stays in the tree: orphans go to the sandbox's init.
int64_t TreeBytes(pid_t root) {
  int64_t pages = 0;
  std::vector<pid_t> open = {root};
  for (size_t at = 0; at < open.size() && open.size() < kMaxTree; ++at) {
    const std::string folder = fmt::format("/proc/{}", open[at]);
    const Result<std::string> statm = ReadFile(folder + "/statm", 4096),
                              children = ReadFile(fmt::format("{}/task/{}/children", folder, open[at]), 1 << 20);
    if (statm)
      if (const size_t space = statm->find(' '); space != std::string::npos) pages += std::atoll(statm->c_str() + space);
    if (!children) continue;
    for (const char *p = children->data(), *end = p + children->size(); p < end;) {
      pid_t child = 0;
      const auto [stop, bad] = std::from_chars(p, end, child);
      if (bad == std::errc()) open.push_back(child);
      p = stop + 1;
    }
  }
  return pages * ::sysconf(_SC_PAGESIZE);
}

uid_t OwnUser() {
  static std::atomic<uint32_t> next{0};
  if (::geteuid() != 0) return 0;
  return kFirstUser + static_cast<uid_t>(::getpid() % 65536) * 1024 + next++ % 1024;
}

// Python with this script; `fds[i]` becomes its descriptor i.
Status StartScript(const SandboxSetup& setup, const SandboxLimits& limits, const std::string& script, const std::string& argument,
                   std::vector<int> fds, Process& process) {
  CANDOR_ASSIGN(const Fd filter, OpenFilter());
  std::vector<std::string> words = setup.isolated ? BwrapWords(fds.size()) : std::vector<std::string>{};
  words.insert(words.end(), {setup.python, "-I", "-S", "-c", script});
  if (!argument.empty()) words.push_back(argument);
  if (setup.isolated) fds.push_back(filter.get());
  return process.Start(std::move(words), fds, limits, setup.isolated ? OwnUser() : 0);
}

// Writes the request, reads the judge's "ready" and its verdict, a line each, watches time and memory.
Result<std::string> Converse(const SandboxSetup& setup, std::string_view unsent, Fd to, const Fd& from, const Process& server) {
  using Clock = std::chrono::steady_clock;
  const auto after = [](double seconds) { return Clock::now() + std::chrono::milliseconds(static_cast<int64_t>(seconds * 1000.0)); };
  bool ready = false;
  auto deadline = after(setup.limits.start_seconds);
  const auto fail = [&](const std::string& early, const std::string& late) {
    return ready ? Fail(ErrorCode::kUnavailable, late, "sandbox") : Fail(ErrorCode::kIo, "the sandbox did not start: " + early, "sandbox");
  };
  ::fcntl(to.get(), F_SETFL, O_NONBLOCK);
  std::string reply;
  char buffer[4096];
  for (;;) {
    if (Clock::now() >= deadline)
      return fail(fmt::format("it took longer than {:.3g} s", setup.limits.start_seconds),
                  fmt::format("the code was not judged within {:.3g} s and was killed", setup.limits.seconds));
    if (const int64_t held = TreeBytes(server.pid()); held > setup.limits.memory_mb << 20)
      return fail(fmt::format("it holds {} MiB by itself, and memory_mb is {}", held >> 20, setup.limits.memory_mb),
                  fmt::format("the code held {} MiB, more than {}, and was killed", held >> 20, setup.limits.memory_mb));
    pollfd fds[2] = {{from.get(), POLLIN, 0}, {unsent.empty() ? -1 : to.get(), POLLOUT, 0}};
    ::poll(fds, 2, kWatchMs);
    if (fds[1].revents != 0) {
      const ssize_t sent = ::write(to.get(), unsent.data(), std::min<size_t>(unsent.size(), sizeof buffer));
      if (sent > 0) unsent.remove_prefix(static_cast<size_t>(sent));
      if (sent < 0 && errno != EAGAIN && errno != EINTR) unsent = {};
      if (unsent.empty()) to.Close();
    }
    if (fds[0].revents == 0) continue;
    const ssize_t got = ::read(from.get(), buffer, sizeof buffer);
    if (got == 0) return fail("one of its processes ended", "the judge ended before its verdict");
    if (got > 0) reply.append(buffer, static_cast<size_t>(got));
    for (size_t end; (end = reply.find('\n')) != std::string::npos; reply.erase(0, end + 1)) {
      if (ready) return reply.substr(0, end);
      if (reply.substr(0, end) != kReady) return fail("its judge said something else", "");
      ready = true, deadline = after(setup.limits.seconds);
    }
    if (reply.size() > kMaxVerdictBytes) return Fail(ErrorCode::kInvalidInput, "the judge wrote too much", "sandbox");
  }
}

}  // namespace

Result<std::string> RunSandboxed(const SandboxSetup& setup, const std::string& request) {
  static const bool no_sigpipe = [] { return ::signal(SIGPIPE, SIG_IGN) != SIG_ERR; }();  // a dead judge is an error of write
  (void)no_sigpipe;
  Fd request_read, request_write, verdict_read, verdict_write, ask_read, ask_write, reply_read, reply_write;
  CANDOR_TRY(OpenPipe(request_read, request_write));
  CANDOR_TRY(OpenPipe(verdict_read, verdict_write));
  CANDOR_TRY(OpenPipe(ask_read, ask_write));
  CANDOR_TRY(OpenPipe(reply_read, reply_write));
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  Process server, tester;
  CANDOR_TRY(StartScript(setup, setup.limits, setup.server_script, std::to_string(setup.isolated ? setup.limits.processes : 0),
                         {ask_read.get(), reply_write.get(), null.get()}, server));
  SandboxLimits judge = setup.limits;
  judge.memory_mb += 512;  // it holds what the code returns
  CANDOR_TRY(StartScript(setup, judge, setup.tester_script, "",
                         {request_read.get(), verdict_write.get(), null.get(), ask_write.get(), reply_read.get()}, tester));
  for (Fd* given : {&request_read, &verdict_write, &ask_read, &ask_write, &reply_read, &reply_write}) given->Close();
  return Converse(setup, request, std::move(request_write), verdict_read, server);
}

Result<std::string> SandboxNonce() {
  unsigned char bytes[16];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) return Fail(ErrorCode::kIo, "the system gave no random bytes", "sandbox");
  std::string nonce;
  for (const unsigned char byte : bytes) nonce += fmt::format("{:02x}", byte);
  return nonce;
}

Status ProbeSandbox(const SandboxSetup& setup) {
  Fd out_read, out_write;
  CANDOR_TRY(OpenPipe(out_read, out_write));
  const Fd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  Process probe;
  CANDOR_TRY(StartScript(setup, setup.limits, "print('ready')", "", {null.get(), out_write.get(), out_write.get()}, probe));
  out_write.Close();
  std::string said;
  char buffer[512];
  pollfd readable{out_read.get(), POLLIN, 0};
  const int wait_ms = static_cast<int>(setup.limits.start_seconds * 1000.0);
  bool silent = false;
  for (ssize_t got = 1; said.size() < 2000 && got > 0;) {
    silent = ::poll(&readable, 1, wait_ms) == 0;
    got = silent ? 0 : ::read(out_read.get(), buffer, sizeof buffer);
    if (got > 0) said.append(buffer, static_cast<size_t>(got));
  }
  if (silent) {
    said = fmt::format("no answer within {:.3g} s", setup.limits.start_seconds);
    probe.Kill();
  }
  const int status = silent ? 0 : probe.Reap();
  if (status == 0 && said == "ready\n") return {};
  while (!said.empty() && said.back() == '\n') said.pop_back();
  if (said.empty() && WIFEXITED(status) && WEXITSTATUS(status) == 127) said = "there is no such program";
  return Fail(
      ErrorCode::kUnavailable, fmt::format("the sandbox for model-written code does not work here: {}", said.empty() ? "no output" : said),
      setup.isolated ? "bwrap" : setup.python,
      "install bubblewrap and allow user namespaces (kernel.unprivileged_userns_clone, user.max_user_namespaces); only where the code is "
      "trusted, or the whole job is a sandbox, say sandbox = \"none\"");
}

Status PrepareSandbox(SandboxSetup& setup, const char* tester, const std::string& where) {
  for (auto [name, text] : {std::pair{"code_server.py", &setup.server_script}, std::pair{tester, &setup.tester_script}}) {
    CANDOR_ASSIGN(const std::string path, FindAdapter(name));
    CANDOR_ASSIGN(*text, ReadFile(path, kMaxScript));
  }
  if (Status works = ProbeSandbox(setup); !works) {
    Error error = works.error();
    error.where = where + ", " + error.where;
    return Fail(error);
  }
  return {};
}

}  // namespace candor
