// Drawings for a terminal: the reliability diagram and the risk-coverage curve. Pure: numbers in, UTF-8 text out (plain ASCII on request),
// each ending with a newline.
#pragma once
#include <string>

#include "calibration/bins.h"
#include "calibration/rows.h"

namespace candor::calibration {

struct ChartOptions {
  int width = 40;      // columns of the scale from 0 to 1
  bool ascii = false;  // for terminals without UTF-8
};

// A line per bin: a bar of its accuracy, a mark at its mean confidence, the gap between them shaded by direction; rows, accuracy with
// Wilson interval, gap.
std::string DrawReliability(const Bins& bins, const ChartOptions& options = {});
std::string DrawReliability(const std::vector<Row>& rows, int bins = 10, const ChartOptions& options = {});
// Error among the answered against the share answered, at tenths of coverage.
std::string DrawRiskCoverage(const Points& points, const ChartOptions& options = {});

}  // namespace candor::calibration
