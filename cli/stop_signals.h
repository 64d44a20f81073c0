// Being told to end: Ctrl-C, SIGTERM, and SIGUSR1, by which Slurm announces a job's end (time limit or pre-emption).
#pragma once
#include <signal.h>

namespace candor::cli {

// While it lives, those signals are noted instead of ending the process. One at a time.
class CatchStopSignals {
 public:
  CatchStopSignals();
  ~CatchStopSignals();
  CatchStopSignals(const CatchStopSignals&) = delete;
  CatchStopSignals& operator=(const CatchStopSignals&) = delete;
  // 0 = none yet.
  static int Caught();

 private:
  struct sigaction old_[3] = {};
};

}  // namespace candor::cli
