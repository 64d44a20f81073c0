// Live progress of a run: one line that rewrites itself on a terminal, one line a step elsewhere (Slurm logs are files).
#pragma once
#include <cstdint>
#include <map>
#include <string>

namespace candor::cli {

using StepMetrics = std::map<std::string, double>;  // one line of metrics.jsonl: "step", "calibration/train/ece", ...

// "  12/60  acc .52  conf .61  Brier .213  ECE .081 (floor .047)  AUROC .71  1,240 tok/s  mismatch 2e-4  stale 1  8 min left". Numbers that
// the line lacks are left out.
std::string ProgressLine(const StepMetrics& metrics, int64_t steps, double seconds_per_step);
// "8 min 20 s", "45 s", "2 h 10 min".
std::string Duration(double seconds);

class ProgressPrinter {
 public:
  ProgressPrinter(int64_t steps, bool quiet);
  // A step was done; `now_s` is a steady clock.
  void Step(const StepMetrics& metrics, double now_s);
  // A short line about what is going on between steps; shown only on a terminal.
  void Waiting(const std::string& what);
  // Ends the live line so that ordinary output can follow.
  void Finish();

 private:
  void Show(const std::string& line, bool keep);
  const int64_t steps_;
  const bool quiet_, terminal_;
  double first_s_ = -1;
  int64_t first_step_ = 0;
  std::string last_line_;
  bool open_ = false;
};

}  // namespace candor::cli
