#include "eval/consistency.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "calibration/ranking.h"
#include "calibration/rollout_stats.h"
#include "eval/truth.h"

namespace candor {

namespace {

using calibration::ClusteredMean;
using nlohmann::json;

// Values from 0 to `most`, of which each is a question of its own.
ClusteredMean MeanOfQuestions(const std::vector<double>& values, double most = std::numeric_limits<double>::infinity()) {
  std::vector<uint64_t> clusters;
  for (uint64_t i = 0; i < values.size(); ++i) clusters.push_back(i);
  if (values.empty()) return {};
  ClusteredMean mean = calibration::ComputeClusteredMean(values, clusters);
  if (std::isfinite(mean.interval.low)) mean.interval = {std::max(0.0, mean.interval.low), std::min(most, mean.interval.high)};
  return mean;
}

struct Samples {
  std::vector<int> cluster_of;
  std::map<std::string, int> clusters;
  void Add(const std::string& answer) {
    cluster_of.push_back(clusters.try_emplace(answer, static_cast<int>(clusters.size())).first->second);
  }
};

std::map<std::string, Samples> SamplesByQuestion(const std::vector<AnswerRow>& rows) {
  std::map<std::string, Samples> samples;
  for (const AnswerRow& row : rows)
    if (!row.greedy && row.format_error.empty()) samples[row.prompt].Add(PlainAnswer(row.answer));
  std::erase_if(samples, [](const auto& one) { return one.second.cluster_of.size() < 2; });
  return samples;
}

double EntropyOf(const Samples& samples) {
  const std::vector<double> alike(samples.cluster_of.size(), 0.0);  // the discrete form reads no likelihoods
  return calibration::ComputeSemanticEntropy(samples.cluster_of, alike, alike).discrete;
}

// Means over the pairs of one question's phrasings.
class Pairs {
 public:
  void Add(double value) { sum_ += value, ++n_; }
  void MeanInto(std::vector<double>& values) const {
    if (n_ > 0) values.push_back(sum_ / n_);
  }

 private:
  double sum_ = 0.0;
  int n_ = 0;
};

json MeanJson(const ClusteredMean& mean) {
  if (mean.clusters == 0) return nullptr;
  const auto number = [](double value) { return std::isfinite(value) ? json(value) : json(nullptr); };
  return {{"mean", mean.mean}, {"low", number(mean.interval.low)}, {"high", number(mean.interval.high)}, {"questions", mean.clusters}};
}

}  // namespace

std::map<std::string, double> EntropyByQuestion(const std::vector<AnswerRow>& rows) {
  std::map<std::string, double> entropy;
  for (const auto& [prompt, samples] : SamplesByQuestion(rows)) entropy[prompt] = EntropyOf(samples);
  return entropy;
}

SemanticEntropyFigures ComputeSemanticEntropyFigures(const std::vector<AnswerRow>& rows) {
  SemanticEntropyFigures figures;
  std::map<std::string, Label> greedy;
  for (const AnswerRow& row : rows)
    if (row.greedy) greedy[row.prompt] = row.label;
  std::vector<double> all, right, wrong;
  calibration::Points points;
  for (const auto& [prompt, samples] : SamplesByQuestion(rows)) {
    const double entropy = EntropyOf(samples), size = static_cast<double>(samples.cluster_of.size());
    all.push_back(entropy);
    figures.samples += size;
    const auto found = greedy.find(prompt);
    if (found == greedy.end() || found->second == Label::kUnknown) continue;
    const bool correct = found->second == Label::kCorrect;
    (correct ? right : wrong).push_back(entropy);
    points.push_back({std::exp(-entropy), correct ? 1.0 : 0.0, points.size()});
  }
  figures.all = MeanOfQuestions(all), figures.right = MeanOfQuestions(right), figures.wrong = MeanOfQuestions(wrong);
  figures.samples = all.empty() ? 0.0 : figures.samples / static_cast<double>(all.size());
  figures.auroc = right.empty() || wrong.empty() ? std::numeric_limits<double>::quiet_NaN() : calibration::Auroc(points);
  return figures;
}

ParaphraseFigures ComputeParaphraseFigures(const std::vector<AnswerRow>& rows) {
  std::map<std::string, std::vector<const AnswerRow*>> phrasings_of;
  for (const AnswerRow& row : rows)
    if (row.greedy && !row.paraphrase_of.empty()) phrasings_of[row.paraphrase_of].push_back(&row);
  ParaphraseFigures figures;
  std::vector<double> confidence, answer, grade;
  for (const auto& [question, phrasings] : phrasings_of) {
    if (phrasings.size() < 2) continue;
    ++figures.questions, figures.phrasings += static_cast<double>(phrasings.size());
    Pairs confidences, answers, grades;
    for (size_t i = 0; i < phrasings.size(); ++i)
      for (size_t k = 0; k < i; ++k) {
        const AnswerRow &a = *phrasings[i], &b = *phrasings[k];
        if (a.confidence && b.confidence) confidences.Add(std::abs(*a.confidence - *b.confidence));
        if (a.format_error.empty() && b.format_error.empty()) answers.Add(PlainAnswer(a.answer) == PlainAnswer(b.answer) ? 0.0 : 1.0);
        if (a.label != Label::kUnknown && b.label != Label::kUnknown) grades.Add(a.label == b.label ? 0.0 : 1.0);
      }
    confidences.MeanInto(confidence), answers.MeanInto(answer), grades.MeanInto(grade);
  }
  figures.confidence = MeanOfQuestions(confidence, 1.0), figures.answer = MeanOfQuestions(answer, 1.0);
  figures.grade = MeanOfQuestions(grade, 1.0);
  if (figures.questions > 0) figures.phrasings /= figures.questions;
  return figures;
}

json ToJson(const SemanticEntropyFigures& figures) {
  return {{"all", MeanJson(figures.all)},
          {"greedy_right", MeanJson(figures.right)},
          {"greedy_wrong", MeanJson(figures.wrong)},
          {"samples", figures.samples},
          {"auroc", std::isfinite(figures.auroc) ? json(figures.auroc) : json(nullptr)}};
}

json ToJson(const ParaphraseFigures& figures) {
  return {{"questions", figures.questions},
          {"phrasings", figures.phrasings},
          {"confidence_difference", MeanJson(figures.confidence)},
          {"answer_changed", MeanJson(figures.answer)},
          {"grade_changed", MeanJson(figures.grade)}};
}

}  // namespace candor
