#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>

namespace candor::cli {

namespace {

// Probabilities as ".52": the leading zero says nothing.
std::string Short(double value, int digits) {
  std::string text = fmt::format("{:.{}f}", value, digits);
  if (text.rfind("0.", 0) == 0) return text.substr(1);
  if (text.rfind("-0.", 0) == 0) return "-" + text.substr(2);
  return text;
}

}  // namespace

std::string Duration(double seconds) {
  if (!(seconds >= 0)) return "?";
  auto s = static_cast<int64_t>(std::llround(seconds));
  if (s < 60) return fmt::format("{} s", s);
  if (s < 600) return fmt::format("{} min {} s", s / 60, s % 60);
  if (s < 3600) return fmt::format("{} min", s / 60);
  return fmt::format("{} h {} min", s / 3600, s % 3600 / 60);
}

std::string ProgressLine(const StepMetrics& metrics, int64_t steps, double seconds_per_step) {
  auto number = [&](const char* name) {
    auto found = metrics.find(name);
    return found == metrics.end() ? std::nan("") : found->second;
  };
  std::string line = fmt::format("step {:>3}/{}", static_cast<int64_t>(number("step")), steps);
  auto add = [&](const char* title, const char* name, int digits) {
    if (double value = number(name); std::isfinite(value)) line += fmt::format("  {} {}", title, Short(value, digits));
  };
  add("acc", "calibration/train/accuracy", 2);
  add("conf", "calibration/train/mean_confidence", 2);
  add("Brier", "calibration/train/brier", 3);
  add("ECE", "calibration/train/ece", 3);
  if (double floor = number("calibration/train/ece_floor"); std::isfinite(floor)) line += " (floor " + Short(floor, 3) + ")";
  add("AUROC", "calibration/train/auroc", 2);
  if (double rate = number("perf/throughput"); std::isfinite(rate)) line += fmt::format("  {:.0f} tok/s", rate);
  if (double mismatch = number("mismatch/abs/mean"); std::isfinite(mismatch)) line += fmt::format("  mismatch {:.1g}", mismatch);
  if (double lag = number("staleness/max"); std::isfinite(lag)) line += fmt::format("  stale {:.0f}", lag);
  const double left = static_cast<double>(steps) - number("step");
  if (seconds_per_step > 0 && left > 0) line += "  " + Duration(left * seconds_per_step) + " left";
  return line;
}

ProgressPrinter::ProgressPrinter(int64_t steps, bool quiet) : steps_(steps), quiet_(quiet), terminal_(::isatty(STDERR_FILENO) == 1) {}

void ProgressPrinter::Step(const StepMetrics& metrics, double now_s) {
  auto step = metrics.find("step");
  if (step == metrics.end()) return;
  if (first_s_ < 0) first_s_ = now_s, first_step_ = static_cast<int64_t>(step->second);
  const double done = step->second - static_cast<double>(first_step_);
  Show(ProgressLine(metrics, steps_, done > 0 ? (now_s - first_s_) / done : 0), true);
}

void ProgressPrinter::Waiting(const std::string& what) {
  if (terminal_) Show(last_line_.empty() ? what : last_line_ + "  [" + what + "]", false);
}

void ProgressPrinter::Show(const std::string& line, bool keep) {
  if (quiet_) return;
  if (keep) last_line_ = line;
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", line.c_str());
    open_ = true;
  } else {
    std::fprintf(stderr, "%s\n", line.c_str());
  }
  std::fflush(stderr);
}

void ProgressPrinter::Finish() {
  if (open_) std::fprintf(stderr, "\n");
  open_ = false;
}

}  // namespace candor::cli
