#include "reward/verifiers/child_process.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <string_view>

#include "core/clock.h"
#include "core/fs.h"

extern char** environ;

namespace candor {

namespace {

constexpr size_t kMaxStderrBytes = size_t{4} << 20;  // one exchange; more than this is a flood
constexpr size_t kStderrTail = 600;                  // kept for messages
constexpr size_t kReadBytes = size_t{1} << 16;
constexpr rlim_t kMaxOpenFiles = 256;

struct Pipe {
  int read = -1, write = -1;
  Status Open() {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return Fail(ErrorCode::kIo, std::string("cannot make a pipe: ") + std::strerror(errno));
    read = ends[0], write = ends[1];
    return {};
  }
  void CloseRead() { Close(read); }
  void CloseWrite() { Close(write); }
  int TakeRead() { return std::exchange(read, -1); }
  int TakeWrite() { return std::exchange(write, -1); }
  ~Pipe() { Close(read), Close(write); }

 private:
  static void Close(int& fd) {
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
};

void Limit(int resource, int64_t value) {
  if (value <= 0) return;
  rlimit limit{static_cast<rlim_t>(value), static_cast<rlim_t>(value)};
  ::setrlimit(static_cast<__rlimit_resource>(resource), &limit);
}

// Runs in the child between fork and exec: only calls that are safe there.
[[noreturn]] void BecomeProgram(const char* program, char* const* arguments, char* const* environment, int in, int out, int err,
                                int failure, pid_t parent, const ChildLimits& limits) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != parent) ::_exit(127);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  ::signal(SIGINT, SIG_DFL);
  ::signal(SIGTERM, SIG_DFL);
  ::dup2(in, 0);
  ::dup2(out, 1);
  ::dup2(err, 2);
  ::dup2(failure, 3);
  ::close_range(4, ~0u, 0);
  ::fcntl(3, F_SETFD, FD_CLOEXEC);
  rlimit no_core{0, 0}, files{kMaxOpenFiles, kMaxOpenFiles};
  ::setrlimit(RLIMIT_CORE, &no_core);
  ::setrlimit(RLIMIT_NOFILE, &files);
  Limit(RLIMIT_AS, limits.memory_mb << 20);
  Limit(RLIMIT_CPU, limits.cpu_s);
  Limit(RLIMIT_NPROC, limits.max_processes);
  ::execvpe(program, arguments, environment);
  int error = errno;
  [[maybe_unused]] ssize_t written = ::write(3, &error, sizeof error);
  ::_exit(127);
}

std::string Nonce() {
  uint64_t bits[2] = {};
  if (::getrandom(bits, sizeof bits, 0) != sizeof bits)
    bits[0] = static_cast<uint64_t>(SteadyMs()), bits[1] = static_cast<uint64_t>(::getpid());
  return fmt::format("{:016x}{:016x}", bits[0], bits[1]);
}

// Descendants that left the process group: whoever carries the mark in its environment.
void KillMarked(const std::string& mark) {
  DIR* folder = ::opendir("/proc");
  if (folder == nullptr) return;
  while (dirent* entry = ::readdir(folder)) {
    char* end = nullptr;
    long pid = std::strtol(entry->d_name, &end, 10);
    if (end == entry->d_name || *end != '\0' || pid == ::getpid()) continue;
    Result<std::string> environment = ReadFile(fmt::format("/proc/{}/environ", pid), size_t{1} << 22);
    if (environment && environment->find(mark) != std::string::npos) ::kill(static_cast<pid_t>(pid), SIGKILL);
  }
  ::closedir(folder);
}

// Writes without raising SIGPIPE in this process, whatever its disposition is.
ssize_t WriteQuietly(int fd, const char* bytes, size_t size) {
  sigset_t pipe_signal, before, pending;
  sigemptyset(&pipe_signal);
  sigaddset(&pipe_signal, SIGPIPE);
  ::sigpending(&pending);
  bool was_pending = sigismember(&pending, SIGPIPE) == 1;
  ::pthread_sigmask(SIG_BLOCK, &pipe_signal, &before);
  ssize_t written = ::write(fd, bytes, size);
  int error = errno;
  if (written < 0 && error == EPIPE && !was_pending) {
    timespec zero{};
    while (::sigtimedwait(&pipe_signal, nullptr, &zero) < 0 && errno == EINTR) {
    }
  }
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  errno = error;
  return written;
}

void SetNonBlocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

std::vector<char*> Pointers(const std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (const std::string& text : texts) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

}  // namespace

Result<std::unique_ptr<ChildProcess>> ChildProcess::Start(const std::vector<std::string>& command, const ChildLimits& limits) {
  if (command.empty()) return Fail(ErrorCode::kInvalidInput, "a verifier's command is empty");
  std::unique_ptr<ChildProcess> child(new ChildProcess);
  child->name_ = command[0];
  child->mark_ = "CANDOR_CHILD=" + Nonce();
  Pipe in, out, err, failure;
  for (Pipe* pipe : {&in, &out, &err, &failure}) CANDOR_TRY(pipe->Open());
  std::vector<std::string> variables = {child->mark_, "PYTHONUNBUFFERED=1"};
  for (char** variable = environ; *variable != nullptr; ++variable)
    if (!std::string_view(*variable).starts_with("CANDOR_CHILD=") && !std::string_view(*variable).starts_with("PYTHONUNBUFFERED="))
      variables.emplace_back(*variable);
  std::vector<char*> arguments = Pointers(command), environment = Pointers(variables);
  pid_t parent = ::getpid();
  pid_t pid = ::fork();
  if (pid < 0) return Fail(ErrorCode::kUnavailable, std::string("cannot fork: ") + std::strerror(errno), command[0]);
  if (pid == 0) {
    // The pipes' ends may lie on 0..3 when this process was started without them; move them out of the way first.
    int fds[4] = {in.read, out.write, err.write, failure.write};
    for (int& fd : fds) fd = ::fcntl(fd, F_DUPFD, 16);
    BecomeProgram(arguments[0], arguments.data(), environment.data(), fds[0], fds[1], fds[2], fds[3], parent, limits);
  }
  child->pid_ = pid;
  failure.CloseWrite();
  int error = 0;
  ssize_t got;
  while ((got = ::read(failure.read, &error, sizeof error)) < 0 && errno == EINTR) {
  }
  if (got == sizeof error)
    return Fail(ErrorCode::kNotFound, std::string("cannot run the verifier: ") + std::strerror(error), command[0],
                "check the command and its PATH");
  child->to_child_ = in.TakeWrite(), child->from_child_ = out.TakeRead(), child->stderr_ = err.TakeRead();
  for (int fd : {child->to_child_, child->from_child_, child->stderr_}) SetNonBlocking(fd);
  return child;
}

ChildProcess::~ChildProcess() {
  Kill();
  for (int fd : {to_child_, from_child_, stderr_})
    if (fd >= 0) ::close(fd);
}

void ChildProcess::Kill() {
  if (pid_ <= 0) return;
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
  KillMarked(mark_);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

tl::unexpected<Error> ChildProcess::Trouble(ErrorCode code, const std::string& what) const {
  // The last line: of a Python traceback, the exception itself.
  std::string tail = stderr_tail_;
  while (!tail.empty() && (tail.back() == '\n' || tail.back() == ' ')) tail.pop_back();
  if (const size_t line = tail.rfind('\n'); line != std::string::npos) tail.erase(0, line + 1);
  return Fail(code, "the verifier " + what + (tail.empty() ? "" : "; its stderr ends: " + tail), name_);
}

tl::unexpected<Error> ChildProcess::Ended() {
  (void)DrainStderr();
  int status = 0;
  for (int i = 0; i < 50; ++i) {  // it closed its stdout; usually it is exiting
    pid_t done = ::waitpid(pid_, &status, WNOHANG);
    if (done == pid_) {
      pid_t ended = std::exchange(pid_, -1);
      ::kill(-ended, SIGKILL);  // what it left behind in its group
      KillMarked(mark_);
      if (WIFSIGNALED(status)) return Trouble(ErrorCode::kUnavailable, fmt::format("was ended by signal {}", WTERMSIG(status)));
      return Trouble(ErrorCode::kUnavailable, fmt::format("exited with code {} before it answered", WEXITSTATUS(status)));
    }
    ::poll(nullptr, 0, 10);
  }
  return Trouble(ErrorCode::kUnavailable, "closed its stdout before it answered");
}

Status ChildProcess::DrainStdout() {
  char buffer[kReadBytes];
  ssize_t got = ::read(from_child_, buffer, sizeof buffer);
  if (got > 0) received_.append(buffer, static_cast<size_t>(got));
  if (got == 0) return Ended();
  if (got < 0 && errno != EAGAIN && errno != EINTR) return Trouble(ErrorCode::kIo, std::string("cannot be read: ") + std::strerror(errno));
  if (received_.size() > max_reply_bytes_ && received_.find('\n') > max_reply_bytes_)
    return Trouble(ErrorCode::kInvalidInput, fmt::format("wrote more than {} bytes without ending the line", max_reply_bytes_));
  return {};
}

Status ChildProcess::DrainStderr() {
  char buffer[kReadBytes];
  ssize_t got = ::read(stderr_, buffer, sizeof buffer);
  if (got == 0) {
    ::close(stderr_);
    stderr_ = -1;
  }
  if (got <= 0) return {};
  stderr_bytes_ += static_cast<size_t>(got);
  stderr_tail_.append(buffer, static_cast<size_t>(got));
  if (stderr_tail_.size() > kStderrTail) stderr_tail_.erase(0, stderr_tail_.size() - kStderrTail);
  if (stderr_bytes_ > kMaxStderrBytes)
    return Trouble(ErrorCode::kInvalidInput, fmt::format("wrote more than {} MiB to stderr", kMaxStderrBytes >> 20));
  return {};
}

// One round of poll: sends what the pipe takes, reads what has come.
Status ChildProcess::Pump(std::string_view& unsent, int64_t deadline_ms, int64_t timeout_ms) {
  int64_t left = deadline_ms - SteadyMs();
  if (left <= 0)
    return Trouble(ErrorCode::kUnavailable,
                   fmt::format("did not answer within {:.3g} s and was killed", static_cast<double>(timeout_ms) / 1000.0));
  pollfd fds[3] = {{from_child_, POLLIN, 0}, {stderr_, POLLIN, 0}, {unsent.empty() ? -1 : to_child_, POLLOUT, 0}};
  if (::poll(fds, 3, static_cast<int>(std::min<int64_t>(left, 1000))) < 0 && errno != EINTR)
    return Trouble(ErrorCode::kIo, std::string("cannot be waited for: ") + std::strerror(errno));
  if (fds[1].revents != 0) CANDOR_TRY(DrainStderr());
  if (fds[0].revents != 0) CANDOR_TRY(DrainStdout());
  if (fds[2].revents != 0) {
    ssize_t written = WriteQuietly(to_child_, unsent.data(), unsent.size());
    if (written > 0) unsent.remove_prefix(static_cast<size_t>(written));
    if (written < 0 && errno == EPIPE) return Ended();
    if (written < 0 && errno != EAGAIN && errno != EINTR)
      return Trouble(ErrorCode::kIo, std::string("cannot be written to: ") + std::strerror(errno));
  }
  return {};
}

Result<std::string> ChildProcess::Exchange(const std::string& line, int64_t timeout_ms, size_t max_reply_bytes) {
  if (pid_ <= 0) return Trouble(ErrorCode::kUnavailable, "has ended");
  std::string message = line + "\n";
  std::string_view unsent = message;
  stderr_bytes_ = 0;
  max_reply_bytes_ = max_reply_bytes;
  int64_t deadline_ms = SteadyMs() + timeout_ms;
  for (;;) {
    if (size_t end = received_.find('\n'); end != std::string::npos) {
      std::string reply = received_.substr(0, end);
      received_.erase(0, end + 1);
      if (!unsent.empty()) return Trouble(ErrorCode::kInvalidInput, "answered before it had read the request");
      return reply;
    }
    CANDOR_TRY(Pump(unsent, deadline_ms, timeout_ms));
  }
}

bool ChildProcess::Ready() {
  if (pid_ <= 0 || !received_.empty()) return false;
  pollfd fd{from_child_, POLLIN, 0};
  return ::poll(&fd, 1, 0) == 0;
}

}  // namespace candor
