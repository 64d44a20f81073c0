// Rows: what anybody can bring to be measured, one line each {"confidence": 0.8, "correct": true, "slice"?: "geo", "prompt"?: "q17"}, and
// the points that metrics read. A confidence is parsed once and cannot be NaN or outside [0, 1]; a missing one is counted, never imputed.
// Rows of one prompt are correlated: they form a cluster, and every interval resamples clusters.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/confidence.h"
#include "core/result.h"

namespace candor::calibration {

struct Row {
  std::optional<Confidence> confidence;  // nullopt: none was stated or it could not be read
  double label = 0.0;                    // in [0, 1]
  std::string prompt = "";               // rows of one prompt share it; "": a prompt of its own
  std::vector<std::string> slices = {};  // those it belongs to
};

// A row with a confidence, as numbers.
struct Point {
  double p = 0.0;
  double y = 0.0;
  uint64_t cluster = 0;  // the prompt
};
using Points = std::vector<Point>;

// Reads a JSONL file; blank lines are skipped. A missing or null confidence is a missing confidence; anything else that is not a number in
// [0, 1] is an error that names file:line and what stood there. "correct" is true, false or a number in [0, 1]; a row without it whose
// "label" is "unknown" (its verifier failed) is left out and counted. "-" is standard input.
Result<std::vector<Row>> ReadRows(const std::string& path, int64_t* unknown = nullptr);
// The same from text; `name` is the file's name in errors.
Result<std::vector<Row>> ParseRows(std::string_view text, const std::string& name, int64_t* unknown = nullptr);

// The number that stands for a prompt: a 64-bit hash, the same on every machine. An unnamed prompt is its row's index.
uint64_t ClusterId(const std::string& prompt, size_t row_index);

// The rows that have a confidence, in order. The second form puts `replacement` where one is missing (a policy to be reported beside, never
// instead).
Points PointsOf(const std::vector<Row>& rows);
Points PointsOf(const std::vector<Row>& rows, double replacement);
// Points of dataset columns; every point its own cluster.
Points MakePoints(const std::vector<double>& p, const std::vector<double>& y);

// One point per cluster, chosen by hash, in order: a set whose labels are independent (null distributions need that).
Points OnePerCluster(const Points& points);
// Groups the points' indices by cluster, in order of first appearance.
std::vector<std::vector<size_t>> ClusterMembers(const Points& points);
// The rows of each slice; rows in no slice are left out.
std::map<std::string, std::vector<Row>> RowsBySlice(const std::vector<Row>& rows);

}  // namespace candor::calibration
