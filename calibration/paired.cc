// Paired differences of two row sets over the same prompts.
#include <algorithm>
#include <cmath>
#include <map>

#include "calibration/intervals.h"
#include "calibration/undefined.h"

namespace candor::calibration {
namespace {

// What one set says about one prompt.
struct PromptRows {
  double label_sum = 0.0, count = 0.0;
  Points points;  // rows with a confidence
};
using ByPrompt = std::map<uint64_t, PromptRows>;

ByPrompt Group(const std::vector<Row>& rows) {
  ByPrompt prompts;
  for (size_t i = 0; i < rows.size(); ++i) {
    const uint64_t id = ClusterId(rows[i].prompt, i);
    PromptRows& prompt = prompts[id];
    prompt.label_sum += rows[i].label;
    prompt.count += 1.0;
    if (rows[i].confidence) prompt.points.push_back({rows[i].confidence->value(), rows[i].label, id});
  }
  return prompts;
}

Status CheckSamePrompts(const ByPrompt& a, const ByPrompt& b) {
  size_t only_a = 0, only_b = 0;
  for (const auto& [id, rows] : a) only_a += b.count(id) == 0;
  for (const auto& [id, rows] : b) only_b += a.count(id) == 0;
  if (only_a + only_b == 0) return {};
  return Fail(ErrorCode::kInvalidInput,
              "the two sets are not over the same prompts: " + std::to_string(only_a) + " only in the first, " + std::to_string(only_b) +
                  " only in the second",
              "paired comparison", "compare evaluations of the same data set");
}

// Clustered t on the per-prompt differences of means.
Difference MeanDifference(const std::vector<double>& a, const std::vector<double>& b, double level) {
  std::vector<double> differences;
  std::vector<uint64_t> clusters;
  double sum_a = 0.0, sum_b = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    differences.push_back(b[i] - a[i]);
    clusters.push_back(i);
    sum_a += a[i];
    sum_b += b[i];
  }
  if (a.empty()) return {kNaN, kNaN, kNaN, {kNaN, kNaN}};
  const double n = static_cast<double>(a.size());
  const ClusteredMean mean = ComputeClusteredMean(differences, clusters, level);
  return {sum_a / n, sum_b / n, mean.mean, mean.interval};
}

double MeanOf(const Points& points, double (*value)(const Point&)) {
  double sum = 0.0;
  for (const Point& point : points) sum += value(point);
  return sum / static_cast<double>(points.size());
}

}  // namespace

Result<PairedComparison> ComparePaired(const std::vector<Row>& rows_a, const std::vector<Row>& rows_b, BootstrapOptions options) {
  const ByPrompt a = Group(rows_a), b = Group(rows_b);
  CANDOR_TRY(CheckSamePrompts(a, b));
  PairedComparison result;
  result.prompts = static_cast<int>(a.size());
  std::vector<double> accuracy[2], brier[2], confidence[2];
  Points points[2];
  for (const auto& [id, in_a] : a) {
    const PromptRows* sides[2] = {&in_a, &b.at(id)};
    const bool has_confidence = !sides[0]->points.empty() && !sides[1]->points.empty();
    if (!has_confidence) ++result.without_confidence;
    for (int side = 0; side < 2; ++side) {
      accuracy[side].push_back(sides[side]->label_sum / sides[side]->count);
      if (!has_confidence) continue;
      brier[side].push_back(MeanOf(sides[side]->points, [](const Point& x) { return (x.p - x.y) * (x.p - x.y); }));
      confidence[side].push_back(MeanOf(sides[side]->points, [](const Point& x) { return x.p; }));
      points[side].insert(points[side].end(), sides[side]->points.begin(), sides[side]->points.end());
    }
  }
  result.accuracy = MeanDifference(accuracy[0], accuracy[1], options.level);
  result.brier = MeanDifference(brier[0], brier[1], options.level);
  result.mean_confidence = MeanDifference(confidence[0], confidence[1], options.level);
  const auto replicates_a = BootstrapReplicates(points[0], options.replicates),
             replicates_b = BootstrapReplicates(points[1], options.replicates);
  const HeadlineMetrics value_a = ComputeHeadline(points[0]);
  const HeadlineMetrics value_b = ComputeHeadline(points[1]);
  const auto bootstrap = [&](double HeadlineMetrics::*metric) {
    std::vector<double> deltas;
    for (size_t i = 0; i < replicates_a.size(); ++i) deltas.push_back(replicates_b[i].*metric - replicates_a[i].*metric);
    const Estimate estimate = EstimateFrom(value_b.*metric - value_a.*metric, std::move(deltas), options.level);
    return Difference{value_a.*metric, value_b.*metric, estimate.value, estimate.interval};
  };
  result.auroc = bootstrap(&HeadlineMetrics::auroc);
  result.augrc = bootstrap(&HeadlineMetrics::augrc);
  result.ece15 = bootstrap(&HeadlineMetrics::ece15);
  return result;
}

}  // namespace candor::calibration
