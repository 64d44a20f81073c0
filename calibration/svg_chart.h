// Self-contained SVG pictures for reports and the README: no scripts, no fonts to load, readable on light and on dark pages.
#pragma once
#include <string>
#include <vector>

#include "calibration/rows.h"

namespace candor::calibration {

// Text as it may stand in XML and HTML, attributes included.
std::string EscapeXml(const std::string& text);

struct ChartSeries {
  std::string name;  // shown in the legend
  Points points;
};

struct SvgOptions {
  std::string title;
  int bins = 10;
};

// Up to two series (before, after): accuracy against confidence per bin with Wilson intervals, circles by size of the bin, the band where a
// calibrated model's bins lie 95 times in 100 (of the last series), and how the confidences are spread below.
std::string ReliabilitySvg(const std::vector<ChartSeries>& series, const SvgOptions& options = {});
// Error rate among the answered against the share answered; dotted: the best possible order.
std::string RiskCoverageSvg(const std::vector<ChartSeries>& series, const SvgOptions& options = {});

}  // namespace candor::calibration
