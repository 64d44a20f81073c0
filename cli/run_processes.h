// What this machine knows of a run without asking anybody: its live processes (from /proc) and the last words of its logs.
#pragma once
#include <sys/types.h>

#include <string>
#include <vector>

namespace candor::cli {

struct RunProcess {
  std::string name;  // "rollout-0", "trainer" (every rank), "coordinator", "run" (the supervisor)
  pid_t pid = 0;
  char state = '?';  // of /proc/PID/stat: R, S, D, T (stopped), Z
};
// Roles and supervisors of the run in this folder, by their command lines; other users' processes may be hidden.
std::vector<RunProcess> ProcessesOf(const std::string& run_dir);

struct LastWords {
  std::string name;  // of the log, without .log
  double seconds_ago = 0;
  std::string line;
};
std::vector<LastWords> LastWordsOf(const std::string& run_dir);

std::string HostName();

}  // namespace candor::cli
