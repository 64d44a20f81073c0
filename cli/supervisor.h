// Child processes of a run on this machine: started in their own process groups with a log file each, watched, restarted with a back-off
// when they die, stopped together. Children die with their parent (PR_SET_PDEATHSIG). Thread rule: one thread.
#pragma once
#include <signal.h>
#include <sys/types.h>

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/result.h"

namespace candor::cli {

struct ChildSpec {
  std::string name;                                // "rollout-0": its log is LOG_DIR/<name>.log
  std::vector<std::string> command;                // command[0] is looked up on PATH unless it holds a slash
  std::map<std::string, std::string> environment;  // added to ours
  bool restart = true;                             // start again when it ends with anything but success
  int restarts_max = 20;                           // since it last ran for kSettledMs; reached: the run fails and names it
  std::function<bool()> proof = {};                // exit code 0 is success only when this holds, too; empty: the code is enough
  // Called before it is started again: ends what its last life left on other machines, and may send the next one elsewhere.
  std::function<void(std::vector<std::string>& command)> before_restart = {};
  int stop_signal = SIGTERM;  // what asks it to end; launchers pass SIGUSR1 on to their ranks, and only that
  bool stop_group = true;     // the signal goes to all of its processes, or to the first one alone
};

// A child that ends by itself, with an error, so soon after its start never got going; after so many of these in a row it is given up:
// another try would say the same. A killed child (by a signal) and one that asks for a restart are no such thing.
inline constexpr int64_t kEarlyMs = 10'000;
inline constexpr int kEarlyFailuresMax = 4;
// After so long a life earlier restarts are forgotten.
inline constexpr int64_t kSettledMs = 600'000;

// What happened to a child since the last look.
struct ChildEvent {
  std::string name;
  int exit_code = 0;  // 128 + signal when it was killed
  bool restarted = false;
  bool gave_up = false;
};

class Supervisor {
 public:
  Supervisor(std::string log_dir, const Clock& clock);
  ~Supervisor() { Stop(2000); }
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  Status Start(ChildSpec spec);
  // Reaps what ended and restarts what is due.
  std::vector<ChildEvent> Poll();
  // The run got on: what died before has been mended, so restarts are counted anew and the next one is quick again.
  void NoteProgress();
  // SIGKILL to a child and all below it: it hangs. Poll then sees it end and starts it again.
  void Kill(const std::string& name);
  bool Running(const std::string& name) const;
  bool AnyRunning() const;
  // nullopt while it runs.
  std::optional<int> ExitCodeOf(const std::string& name) const;
  pid_t PidOf(const std::string& name) const;
  std::vector<std::string> RunningNames() const;
  // Since it was started last; 0 when it does not run.
  int64_t AgeMs(const std::string& name) const;
  // Somebody sent SIGSTOP to it or to a process below it.
  bool AnyStopped(const std::string& name) const;
  // Each child's stop signal (SIGTERM to its group, unless it says otherwise), SIGKILL to what is left after grace_ms.
  void Stop(int grace_ms);
  std::string LogPath(const std::string& name) const { return log_dir_ + "/" + name + ".log"; }

 private:
  struct Child {
    ChildSpec spec;
    pid_t pid = -1;  // -1: not running
    int exit_code = 0;
    int restarts = 0, early_failures = 0;
    int64_t started_ms = 0;
    int64_t restart_at_ms = -1;  // -1: no restart is due
  };
  void KillStrays();
  Status Spawn(Child& child);
  ChildEvent Ended(Child& child, int status);

  std::string log_dir_;
  const Clock& clock_;
  std::vector<Child> children_;
};

// `mpirun -n RANKS` with what ranks on one machine need: more ranks than cores, no binding, waiting that gives the core away.
std::vector<std::string> MpirunCommand(int64_t ranks);
// Runs one command to its end; the exit code. Its standard output is ours, or goes to the file `output`. Once `told_to_end` says anything
// but 0, it is told as well: by SIGUSR1, which launchers pass on.
Result<int> RunToEnd(const std::vector<std::string>& command, const std::map<std::string, std::string>& environment = {},
                     const std::string& output = "", const std::function<int()>& told_to_end = {});
// Runs one command to its end and returns what it wrote to standard output; kUnavailable with its standard error when it fails.
Result<std::string> RunForOutput(const std::vector<std::string>& command);
// The last `lines` lines of a log, for error messages.
std::string TailOfFile(const std::string& path, size_t lines);

}  // namespace candor::cli
