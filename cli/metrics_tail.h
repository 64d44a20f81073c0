// Lines of a run's metrics.jsonl, and what was appended to it since the last look.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cli/progress.h"

namespace candor::cli {

// The numbers of a line of metrics.jsonl; nothing when it is no JSON object.
std::optional<StepMetrics> ParseStepLine(const std::string& line);

class MetricsTail {
 public:
  explicit MetricsTail(std::string path) : path_(std::move(path)) {}
  // The lines that are new, in order; of the file nothing else is read. A torn last line waits for its rest. A file that has become shorter
  // is read anew.
  std::vector<StepMetrics> Read();

 private:
  const std::string path_;
  size_t offset_ = 0;
};

}  // namespace candor::cli
