// What the coordinator tells people about itself: JSON for /api/status and `candor status`, Prometheus text for /metrics. Read-only views
// of the state.
#pragma once
#include <string>

#include "coordinator/metrics.h"
#include "coordinator/state.h"

namespace candor {

struct StatusExtras {
  std::string endpoint, http;
  int64_t started_ms = 0;   // steady clock
  int64_t wall_ms = 0;      // the wall clock now
  int64_t covered_ms = -1;  // when this coordinator heard of the newest checkpoint
  double last_step_seconds = -1;
  MetricLine last_line;  // of metrics.jsonl
};

// Who is there, what is open, and who waits for what since when.
std::string StatusJson(const CoordinatorState& state, const StatusExtras& extras, int64_t now_ms);
std::string PrometheusText(const CoordinatorState& state, const StatusExtras& extras, int64_t now_ms);

}  // namespace candor
