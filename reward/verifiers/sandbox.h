// Two processes for code that a model wrote: one runs it, in a sandbox; the other judges it and never runs a line of it. The judge's only
// words to us come through a pipe that the code's process does not have, with a nonce of this run.
//
// bwrap gives each of them a user, pid, network, mount, ipc and uts namespace of its own: read-only system folders, an empty /tmp of 16
// MiB, no network, no environment, no capabilities, no further user namespaces, no system calls that syscall_filter.h names. Limits: time,
// memory (each process's address space, and the sum of what all of them hold, looked at every 50 ms), processes, size of a file. As root
// the sandbox runs under a user id of its own, since root is exempt from the limit of processes. Both processes say when they stand, before
// any of the code is read: only then its time begins to run, and what goes wrong earlier is the machine's failure, never the code's. Thread
// rule: any thread, one pair per call; the calling thread waits.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

struct SandboxLimits {
  double seconds = 10.0;
  double start_seconds = 30.0;  // until both processes stand
  int64_t memory_mb = 512;
  int64_t processes = 64;
  int64_t file_mb = 16;
};

struct SandboxSetup {
  std::string python = "python3";
  std::string server_script, tester_script;  // texts
  bool isolated = true;                      // false: sandbox = "none"
  SandboxLimits limits;
};

// The judge's line for one request line. Errors: kUnavailable (the code's time or memory, a process that died under it), kInvalidInput (too
// much output), kIo (the sandbox did not start: that says nothing about the code); the message says which. Nothing of either process is
// left when it returns.
Result<std::string> RunSandboxed(const SandboxSetup& setup, const std::string& request);

// Reads the two scripts, code_server.py and `tester` (reward/adapters), into `setup` and probes it. `where`: who needs it, for the error.
Status PrepareSandbox(SandboxSetup& setup, const char* tester, const std::string& where);

// Names one request, so that its answer cannot be written in advance: 32 hexadecimal digits.
Result<std::string> SandboxNonce();

// Can this machine do it? The error holds what bwrap said, and the way out.
Status ProbeSandbox(const SandboxSetup& setup);

}  // namespace candor
