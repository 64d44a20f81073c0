// What was appended to a run's metrics.jsonl since the last look.
#pragma once
#include <string>
#include <vector>

#include "cli/progress.h"

namespace candor::cli {

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
