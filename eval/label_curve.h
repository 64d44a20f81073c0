// Label efficiency: what a confidence is worth after so many labelled answers, when RL spends them, and when the same number fits a scaling
// of the answer's probability or a reading of the hidden state on the policy that RL starts from. Pure.
#pragma once
#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

using MetricsOfStep = std::map<std::string, double>;  // a line of metrics.jsonl or evals.jsonl

// One evaluation on the way.
struct LabelPoint {
  int64_t step = -1;  // of RL; -1: not RL's
  int64_t labels = 0;
  double n = 0, accuracy = 0, brier = 0, auroc = 0;  // of the answers with a confidence; NaN where undefined
};
struct LabelCurve {
  std::string method;
  std::vector<LabelPoint> points;  // ascending labels
};

// Labels before RL (of the slot's warm-up), and by how much a step's sampled labels are multiplied for the greedy answers of its groups.
struct LabelsSpent {
  int64_t before_rl = 0;
  double greedy_per_sampled = 0.0;
};
// Every evaluation of the set `eval` with the labels that were spent by then: those of the answers that steps before it were trained on.
// A step that was done twice (the learner went back) counts once. Errors: no evaluation of that name.
Result<LabelCurve> CurveOfRun(const std::vector<MetricsOfStep>& metrics, const std::vector<MetricsOfStep>& evals, const std::string& eval,
                              const LabelsSpent& spent);
// At most `count` of them: the first and the last, and the others as evenly over labels as they lie. Points without labels go.
std::vector<LabelPoint> SpreadOver(const std::vector<LabelPoint>& points, size_t count);

// {"eval", "curves": [{"method", "points": [{"labels", "step"?, "n", "accuracy", "brier", "auroc"}]}], "verdict"}.
nlohmann::json LabelCurvesJson(const std::string& eval, const std::vector<LabelCurve>& curves);
std::string LabelCurvesText(const nlohmann::json& curves);
// A page of its own: the tables and a picture of each metric over the labels.
std::string LabelCurvesHtml(const nlohmann::json& curves);

}  // namespace candor
