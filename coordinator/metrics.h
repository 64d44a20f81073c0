// One line of metrics.jsonl per step and one of evals.jsonl per evaluation: flat names and finite numbers. The lines are kept in the store
// under (segment, step) and the files are their projection: after a crash what a file lacks is appended, and a torn last line is cut off.
#pragma once
#include <map>
#include <string>
#include <vector>

#include "coordinator/record.h"
#include "coordinator/state.h"
#include "core/disk.h"

namespace candor {

using MetricLine = std::map<std::string, double>;

// What the coordinator itself knows of a step: sums over its groups, staleness, drops, leases.
MetricLine StepMetrics(const CoordinatorState& state, StepId step);
// The whole line: the learner's report, the above, and the calibration of the step.
MetricLine StepLine(const CoordinatorState& state, StepId step, const std::map<SeriesKey, calibration::CalSketch>& merged,
                    double step_seconds, int64_t wall_ms);
MetricLine EvalLine(const std::string& eval, PolicyVersion version, const std::map<SeriesKey, calibration::CalSketch>& merged,
                    int64_t wall_ms);
std::string ToJsonLine(const MetricLine& line);

// "m" lines of the store <-> a file.
void PutLine(const std::string& file, uint64_t segment, uint64_t number, const std::string& tag, const std::string& json,
             StoreBatch& batch);
// Those of a segment from a number on go.
void DropLines(const std::string& file, uint64_t segment, uint64_t from_number, StoreBatch& batch);
Result<bool> HasLine(const Store& store, const std::string& file, uint64_t segment, uint64_t number, const std::string& tag);
// Lines of a file in order, from `from_step` on.
Result<std::vector<std::string>> ReadLines(const Store& store, const std::string& file, uint64_t from_step);
// Makes RUN_DIR/<file> hold exactly the store's lines.
Status ProjectLines(const Store& store, const std::string& file, const std::string& path, Disk& disk = SystemDisk());

}  // namespace candor
