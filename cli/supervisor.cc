#include "cli/supervisor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <fstream>
#include <set>

#include "core/fs.h"
#include "core/log.h"

extern char** environ;

namespace candor::cli {

namespace {

constexpr int64_t kBackoffFirstMs = 200, kBackoffLastMs = 30'000;  // 0 (the first restart), 200, 600, 1400 ... ms
constexpr int64_t kBackoffKilledMs = 3000;  // at most, for what was killed or lost a peer: it need not be broken itself
constexpr int64_t kLivedMs = 1000;          // a child that lives so long and sees progress is sound

std::vector<std::string> JoinEnvironment(const std::map<std::string, std::string>& extra) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry; ++entry) {
    std::string_view text(*entry);
    if (!extra.count(std::string(text.substr(0, text.find('='))))) all.emplace_back(text);
  }
  for (const auto& [key, value] : extra) all.push_back(key + "=" + value);
  return all;
}

std::vector<char*> Pointers(std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (std::string& text : strings) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// In the child, after fork: only calls that are safe there.
[[noreturn]] void ExecChild(const std::vector<char*>& arguments, const std::vector<char*>& environment, int output_fd, bool own_group,
                            pid_t parent) {
  ::prctl(PR_SET_PDEATHSIG, own_group ? SIGTERM : SIGKILL);
  if (::getppid() != parent) ::_exit(127);  // the parent died before prctl
  if (output_fd >= 0) ::dup2(output_fd, STDOUT_FILENO);
  if (own_group) {  // a daemon of the run: its log takes both streams
    ::setpgid(0, 0);
    ::dup2(output_fd, STDERR_FILENO);
    int null = ::open("/dev/null", O_RDONLY);
    ::dup2(null, STDIN_FILENO);
  }
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::execvpe(arguments[0], arguments.data(), environment.data());
  ::dprintf(STDERR_FILENO, "candor: cannot start %s: %s\n", arguments[0], std::strerror(errno));
  ::_exit(127);
}

Result<pid_t> Fork(std::vector<std::string> command, const std::map<std::string, std::string>& extra, int output_fd, bool own_group) {
  std::vector<std::string> environment = JoinEnvironment(extra);
  std::vector<char*> arguments = Pointers(command), variables = Pointers(environment);
  const pid_t parent = ::getpid();
  pid_t pid = ::fork();
  if (pid < 0) return Fail(ErrorCode::kIo, fmt::format("cannot fork: {}", std::strerror(errno)), command[0]);
  if (pid == 0) ExecChild(arguments, variables, output_fd, own_group, parent);
  return pid;
}

struct ProcessEntry {
  pid_t pid = 0, parent = 0;
  char state = 0;
};

std::vector<ProcessEntry> AllProcesses() {
  std::vector<ProcessEntry> found;
  std::error_code ignored;
  for (const auto& entry : std::filesystem::directory_iterator("/proc", ignored)) {
    if (!std::isdigit(static_cast<unsigned char>(entry.path().filename().string()[0]))) continue;
    std::ifstream file(entry.path() / "stat");
    std::string stat;
    if (!std::getline(file, stat) || stat.rfind(')') == std::string::npos) continue;
    ProcessEntry process;
    if (std::sscanf(stat.c_str() + stat.rfind(')') + 1, " %c %d", &process.state, &process.parent) != 2) continue;
    process.pid = std::atoi(stat.c_str());
    found.push_back(process);
  }
  return found;
}

std::vector<pid_t> ChildrenOf(pid_t parent) {
  std::vector<pid_t> found;
  for (const ProcessEntry& process : AllProcesses())
    if (process.parent == parent) found.push_back(process.pid);
  return found;
}

void KillTree(pid_t root) {
  for (pid_t child : ChildrenOf(root)) KillTree(child);
  ::kill(root, SIGKILL);
}

int CodeOf(int status) { return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status); }

}  // namespace

Status Supervisor::Spawn(Child& child) {
  int fd = ::open(LogPath(child.spec.name).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (fd < 0) return Fail(ErrorCode::kIo, fmt::format("cannot open the log: {}", std::strerror(errno)), LogPath(child.spec.name));
  auto pid = Fork(child.spec.command, child.spec.environment, fd, true);
  ::close(fd);
  if (!pid) return Fail(pid.error());
  ::setpgid(*pid, *pid);
  child.pid = *pid;
  child.started_ms = clock_.SteadyMs();
  child.restart_at_ms = -1;
  return {};
}

// What an ended launcher left running (ranks are in groups of their own) has become our child: nobody waits for it.
void Supervisor::KillStrays() {
  for (pid_t pid : ChildrenOf(::getpid())) {
    if (std::any_of(children_.begin(), children_.end(), [&](const Child& child) { return child.pid == pid; })) continue;
    KillTree(pid);
    for (int looks = 0; looks < 200 && ::waitpid(pid, nullptr, WNOHANG) == 0; ++looks)
      ::usleep(10'000);  // one that waits for a disk may take longer
  }
}

Supervisor::Supervisor(std::string log_dir, const Clock& clock) : log_dir_(std::move(log_dir)), clock_(clock) {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
}

Status Supervisor::Start(ChildSpec spec) {
  children_.push_back({std::move(spec)});
  return Spawn(children_.back());
}

ChildEvent Supervisor::Ended(Child& child, int status) {
  ::kill(-child.pid, SIGKILL);  // what it left behind in its group
  const int64_t lived_ms = clock_.SteadyMs() - child.started_ms;
  child.pid = -1;
  child.exit_code = CodeOf(status);
  if (child.exit_code > 128) KillStrays();  // ranks whose launcher was killed would hold the memory that the next ones need
  if (child.exit_code == 0 && child.spec.proof && !child.spec.proof()) child.exit_code = static_cast<int>(ExitCode::kRestart);
  ChildEvent event{child.spec.name, child.exit_code, false, false};
  if (child.exit_code == 0 || !child.spec.restart) return event;
  const bool by_itself = child.exit_code < 128 && child.exit_code != static_cast<int>(ExitCode::kRestart);
  child.early_failures = by_itself && lived_ms < kEarlyMs ? child.early_failures + 1 : 0;
  if (lived_ms >= kSettledMs) child.restarts = 0;
  event.gave_up = child.restarts >= child.spec.restarts_max || child.early_failures >= kEarlyFailuresMax;
  if (event.gave_up) return event;
  const int64_t longest_ms = by_itself ? kBackoffLastMs : kBackoffKilledMs;
  child.restart_at_ms = clock_.SteadyMs() + std::min(longest_ms, (kBackoffFirstMs << std::min(child.restarts, 10)) - kBackoffFirstMs);
  ++child.restarts;
  event.restarted = true;
  return event;
}

std::vector<ChildEvent> Supervisor::Poll() {
  std::vector<ChildEvent> events;
  for (Child& child : children_) {
    int status = 0;
    if (child.pid > 0 && ::waitpid(child.pid, &status, WNOHANG) == child.pid) events.push_back(Ended(child, status));
    if (child.pid > 0 || child.restart_at_ms < 0 || clock_.SteadyMs() < child.restart_at_ms) continue;
    if (child.spec.before_restart) child.spec.before_restart(child.spec.command);
    if (Status started = Spawn(child); !started)
      LogError(started.error(), "restarting " + child.spec.name), child.restart_at_ms = clock_.SteadyMs() + 1000;
  }
  return events;
}

void Supervisor::NoteProgress() {
  for (Child& child : children_)
    if (child.pid > 0 && clock_.SteadyMs() - child.started_ms >= kLivedMs) child.restarts = 0;
}

void Supervisor::Kill(const std::string& name) {
  if (const pid_t pid = PidOf(name); pid > 0) KillTree(pid);
}

bool Supervisor::Running(const std::string& name) const { return PidOf(name) > 0; }
bool Supervisor::AnyRunning() const {
  return std::any_of(children_.begin(), children_.end(), [](const Child& child) { return child.pid > 0 || child.restart_at_ms >= 0; });
}
std::optional<int> Supervisor::ExitCodeOf(const std::string& name) const {
  for (const Child& child : children_)
    if (child.spec.name == name && child.pid < 0 && child.restart_at_ms < 0) return child.exit_code;
  return std::nullopt;
}
pid_t Supervisor::PidOf(const std::string& name) const {
  for (const Child& child : children_)
    if (child.spec.name == name) return child.pid;
  return -1;
}

std::vector<std::string> Supervisor::RunningNames() const {
  std::vector<std::string> names;
  for (const Child& child : children_)
    if (child.pid > 0) names.push_back(child.spec.name);
  return names;
}

int64_t Supervisor::AgeMs(const std::string& name) const {
  for (const Child& child : children_)
    if (child.spec.name == name && child.pid > 0) return clock_.SteadyMs() - child.started_ms;
  return 0;
}

bool Supervisor::AnyStopped(const std::string& name) const {
  std::set<pid_t> tree{PidOf(name)};
  const std::vector<ProcessEntry> all = AllProcesses();
  for (bool grew = true; grew;) {
    grew = false;
    for (const ProcessEntry& process : all)
      if (tree.count(process.parent)) grew = tree.insert(process.pid).second || grew;
  }
  return std::any_of(all.begin(), all.end(), [&](const ProcessEntry& process) { return process.state == 'T' && tree.count(process.pid); });
}

void Supervisor::Stop(int grace_ms) {
  for (Child& child : children_) {
    child.restart_at_ms = -1;
    if (child.pid > 0) ::kill(child.spec.stop_group ? -child.pid : child.pid, child.spec.stop_signal);
  }
  const int64_t deadline = clock_.SteadyMs() + grace_ms;
  for (bool killed = false;;) {
    bool left = false;
    for (Child& child : children_) {
      int status = 0;
      if (child.pid > 0 && ::waitpid(child.pid, &status, WNOHANG) == child.pid) child.exit_code = CodeOf(status), child.pid = -1;
      left = left || child.pid > 0;
    }
    if (!left) return KillStrays();  // ranks of a launcher that had to be killed
    if (!killed && clock_.SteadyMs() > deadline) {
      for (Child& child : children_)
        if (child.pid > 0) ::kill(-child.pid, SIGKILL);
      killed = true;
    }
    ::usleep(10'000);
  }
}

std::vector<std::string> MpirunCommand(int64_t ranks) {
  std::vector<std::string> mpirun{"mpirun", "--oversubscribe",    "--bind-to", "none", "--mca", "mpi_yield_when_idle", "1",
                                  "-n",     std::to_string(ranks)};
  if (::geteuid() == 0) mpirun.insert(mpirun.begin() + 1, "--allow-run-as-root");
  return mpirun;
}

Result<int> RunToEnd(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment,
                     const std::string& output, const std::function<int()>& told_to_end) {
  int fd = -1;
  if (!output.empty() && (fd = ::open(output.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644)) < 0)
    return Fail(ErrorCode::kIo, fmt::format("cannot write: {}", std::strerror(errno)), output);
  auto forked = Fork(command, environment, fd, false);
  if (fd >= 0) ::close(fd);
  CANDOR_ASSIGN(pid_t pid, std::move(forked));
  int status = 0;
  for (bool told = false;;) {
    const pid_t ended = ::waitpid(pid, &status, told_to_end ? WNOHANG : 0);
    if (ended == pid) return CodeOf(status);
    if (ended < 0 && errno != EINTR) return Fail(ErrorCode::kIo, std::string("waitpid: ") + std::strerror(errno), command[0]);
    if (told_to_end && !told && told_to_end() != 0) ::kill(pid, SIGUSR1), told = true;
    if (told_to_end) ::usleep(20'000);
  }
}

namespace {

// A file in memory, which a child can open by its path while we live.
class Scratch {
 public:
  Scratch() : fd_(::memfd_create("candor-output", MFD_CLOEXEC)) {}
  ~Scratch() {
    if (fd_ >= 0) ::close(fd_);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  std::string path() const { return fmt::format("/proc/{}/fd/{}", ::getpid(), fd_); }

 private:
  int fd_;
};

}  // namespace

Result<std::string> RunForOutput(const std::vector<std::string>& command) {
  const Scratch output, errors;
  std::vector<std::string> shell = {"sh", "-c", "exec \"$@\" 2>\"$0\"", errors.path()};
  shell.insert(shell.end(), command.begin(), command.end());
  CANDOR_ASSIGN(const int code, RunToEnd(shell, {}, output.path()));
  CANDOR_ASSIGN(std::string text, ReadFile(code == 0 ? output.path() : errors.path()));
  while (text.ends_with('\n')) text.pop_back();
  if (code == 0) return text;
  return Fail(ErrorCode::kUnavailable, fmt::format("{} ended with exit code {}: {}", command[0], code, text),
              fmt::format("{}", fmt::join(command, " ")));
}

std::string TailOfFile(const std::string& path, size_t lines) {
  constexpr std::streamoff kLooked = 1 << 16;  // a log of days may be long
  std::ifstream file(path, std::ios::ate);
  std::deque<std::string> tail;
  file.seekg(std::max<std::streamoff>(0, std::streamoff(file.tellg()) - kLooked));
  for (std::string line; std::getline(file, line);) {
    tail.push_back(line);
    if (tail.size() > lines) tail.pop_front();
  }
  std::string text;
  for (const std::string& line : tail) text += "  " + line + "\n";
  return text;
}

}  // namespace candor::cli
