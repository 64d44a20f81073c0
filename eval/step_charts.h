// The curves of a run over its steps, for the report: one small chart per question, as inline SVG; and how the signed gap (mean confidence
// less accuracy) moves with the entropy, a point per step.
#pragma once
#include <map>
#include <string>
#include <vector>

namespace candor {

// `steps`: the numbers of each step by name, as in metrics.jsonl, "step" among them. "" without steps.
std::string StepCharts(const std::vector<std::map<std::string, double>>& steps);

// The least and greatest tick of an axis that holds [low, high], and the distance between ticks: 1, 2 or 5 times a power of ten, at most
// 7 intervals. An axis of numbers that are never negative begins at 0 unless they lie far from it.
struct Axis {
  double low = 0.0, high = 1.0, step = 0.5;
};
Axis AxisFor(double low, double high);

}  // namespace candor
