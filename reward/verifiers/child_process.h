// One long-lived, killable child that answers a line with a line. It runs in a session and process group of its own, with limits, without
// inherited descriptors, and dies with its owner.
//
// Killing takes the process group and whatever else carries the child's mark in its environment (descendants that left the group). This
// bounds honest mistakes — hangs, floods, crashes, fork loops; it is no sandbox for hostile code. Thread rule: one thread at a time. The
// thread that calls Start must outlive the child (the kernel sends the child SIGKILL when it ends).
#pragma once
#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

struct ChildLimits {
  int64_t memory_mb = 0;      // address space; 0 = none
  int64_t cpu_s = 0;          // 0 = none
  int64_t max_processes = 0;  // RLIMIT_NPROC; 0 = none
};

class ChildProcess {
 public:
  // kNotFound: no such program. The program may still fail later; Exchange tells.
  static Result<std::unique_ptr<ChildProcess>> Start(const std::vector<std::string>& command, const ChildLimits& limits);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  // Sends the line (a newline is added) and waits for one line back. On any error the child must be discarded: it hung, ended, flooded or
  // lost step. The error says which, with the end of what it wrote to stderr.
  Result<std::string> Exchange(const std::string& line, int64_t timeout_ms, size_t max_reply_bytes);
  // Between exchanges: alive and silent. False also when it wrote something nobody asked for.
  bool Ready();
  void Kill();

 private:
  ChildProcess() = default;
  Status Pump(std::string_view& unsent, int64_t deadline_ms, int64_t timeout_ms);
  Status DrainStdout();
  Status DrainStderr();
  tl::unexpected<Error> Ended();
  tl::unexpected<Error> Trouble(ErrorCode code, const std::string& what) const;

  pid_t pid_ = -1;
  int to_child_ = -1, from_child_ = -1, stderr_ = -1;
  std::string name_;         // program, for messages
  std::string mark_;         // "CANDOR_CHILD=<nonce>"
  std::string received_;     // stdout not consumed yet
  std::string stderr_tail_;  // for messages
  size_t stderr_bytes_ = 0;  // in this exchange
  size_t max_reply_bytes_ = 0;
};

}  // namespace candor
