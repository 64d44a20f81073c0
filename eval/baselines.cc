#include "eval/baselines.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "calibration/recalibration.h"
#include "eval/select.h"

namespace candor {

namespace {

constexpr double kLookupPrior = 4.0;  // an answer's share of right ones counts as if four more answers of the base rate had been seen

double BaseRate(const std::vector<AnswerRow>& rows) {
  double correct = 0, known = 0;
  for (const AnswerRow& row : rows)
    if (row.label != Label::kUnknown) known += 1, correct += row.label == Label::kCorrect;
  return known > 0 ? correct / known : std::numeric_limits<double>::quiet_NaN();
}

Baseline Constant(double rate, size_t n) {
  return {"constant", "every answer gets the share of right answers on dev", std::vector<std::optional<double>>(n, rate)};
}

Baseline Lookup(const std::vector<AnswerRow>& dev, double rate, const std::vector<AnswerRow>& rows) {
  std::map<std::string, std::pair<double, double>> seen;  // answer -> (right, asked)
  for (const AnswerRow& row : dev)
    if (row.label != Label::kUnknown) seen[row.answer].first += row.label == Label::kCorrect, seen[row.answer].second += 1;
  Baseline baseline{"answer_lookup", "how often this predicted answer was right on dev", {}};
  for (const AnswerRow& row : rows) {
    auto found = seen.find(row.answer);
    const auto [right, asked] = found == seen.end() ? std::pair<double, double>{0, 0} : found->second;
    baseline.confidences.push_back((right + kLookupPrior * rate) / (asked + kLookupPrior));
  }
  return baseline;
}

}  // namespace

std::vector<Baseline> ComputeBaselines(const std::vector<AnswerRow>& dev, const std::vector<AnswerRow>& rows) {
  std::vector<Baseline> baselines;
  const double rate = BaseRate(dev);
  if (std::isfinite(rate)) {
    baselines.push_back(Constant(rate, rows.size()));
    baselines.push_back(Lookup(dev, rate, rows));
  }
  Baseline raw{"answer_probability", "the probability the model gave its own answer", SignalOf(rows, "answer_prob")};
  baselines.push_back(raw);
  auto platt =
      calibration::FitRecalibrator(calibration::RecalibratorKind::kPlatt, calibration::PointsOf(ToRows(dev, SignalOf(dev, "answer_prob"))));
  if (platt) {
    Baseline scaled{"answer_probability_platt", "the same, Platt-scaled on dev", {}};
    for (const std::optional<double>& p : raw.confidences)
      scaled.confidences.push_back(p ? std::optional<double>(platt->Apply(*p)) : std::nullopt);
    baselines.push_back(std::move(scaled));
  }
  return baselines;
}

double WithinAnswerAuroc(const std::vector<AnswerRow>& rows, const std::vector<std::optional<double>>& confidences) {
  std::map<std::string, std::pair<std::vector<double>, std::vector<double>>> by_answer;  // (right, wrong)
  for (size_t i = 0; i < rows.size(); ++i) {
    if (!confidences[i] || rows[i].label == Label::kUnknown) continue;
    auto& [right, wrong] = by_answer[rows[i].answer];
    (rows[i].label == Label::kCorrect ? right : wrong).push_back(*confidences[i]);
  }
  double wins = 0, pairs = 0;
  for (auto& [answer, both] : by_answer) {
    auto& [right, wrong] = both;
    std::sort(wrong.begin(), wrong.end());
    for (double p : right) {
      const auto range = std::equal_range(wrong.begin(), wrong.end(), p);
      wins += static_cast<double>(range.first - wrong.begin()) + 0.5 * static_cast<double>(range.second - range.first);
    }
    pairs += static_cast<double>(right.size()) * static_cast<double>(wrong.size());
  }
  return pairs > 0 ? wins / pairs : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace candor
