#include "eval/paired_arms.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "calibration/intervals.h"
#include "calibration/multiple.h"
#include "core/rng.h"

namespace candor {

namespace {

using nlohmann::json;

constexpr double kNoConfidence = 0.5;
constexpr uint64_t kSeedDraws = 1;  // of the bootstrap's own random numbers
enum ArmMetric { kAccuracy, kBrier, kAuroc, kArmMetrics };
constexpr const char* kArmMetricNames[] = {"accuracy", "brier", "auroc"};

struct ArmAnswer {
  double label, confidence;
  bool stated;
};
using ArmAnswers = std::map<std::string, ArmAnswer>;  // by question

// The greedy answers of one arm and seed; unlabelled questions go to `unknown`.
ArmAnswers AnswersOf(const std::vector<AnswerRow>& rows, std::set<std::string>& unknown) {
  ArmAnswers answers;
  for (const AnswerRow& row : rows) {
    if (!row.greedy) continue;
    if (row.label == Label::kUnknown) unknown.insert(row.prompt);
    answers[row.prompt] = {row.label == Label::kCorrect ? 1.0 : 0.0, row.confidence.value_or(kNoConfidence), row.confidence.has_value()};
  }
  return answers;
}

// All arms over the same questions: labels and confidences as calibration/ takes them.
struct AlignedArms {
  std::vector<std::vector<calibration::Points>> points_AS;
  std::vector<int64_t> without_confidence_A;
  size_t questions = 0, left_out = 0;
};

Result<AlignedArms> Align(const std::vector<Arm>& arms) {
  if (arms.empty() || arms[0].answers_by_seed.empty()) return Fail(ErrorCode::kInvalidInput, "there is no arm to compare");
  std::set<std::string> unknown;
  std::vector<std::vector<ArmAnswers>> answers_AS;
  for (const Arm& arm : arms) {
    if (arm.answers_by_seed.size() != arms[0].answers_by_seed.size())
      return Fail(
          ErrorCode::kInvalidInput,
          fmt::format("{} seeds of {}, {} of {}", arm.answers_by_seed.size(), arm.name, arms[0].answers_by_seed.size(), arms[0].name),
          "arms", "give each arm the same seeds, in the same order");
    answers_AS.emplace_back();
    for (const auto& rows : arm.answers_by_seed) answers_AS.back().push_back(AnswersOf(rows, unknown));
  }
  const ArmAnswers& first = answers_AS[0][0];
  AlignedArms all;
  for (size_t a = 0; a < arms.size(); ++a) {
    all.points_AS.emplace_back();
    all.without_confidence_A.push_back(0);
    for (const ArmAnswers& answers : answers_AS[a]) {
      if (answers.size() != first.size() ||
          !std::equal(answers.begin(), answers.end(), first.begin(), [](const auto& x, const auto& y) { return x.first == y.first; }))
        return Fail(ErrorCode::kInvalidInput, fmt::format("{} and {} were not asked the same questions", arms[a].name, arms[0].name),
                    "arms", "compare evaluations of the same data set");
      calibration::Points points;
      for (const auto& [question, answer] : answers) {
        if (unknown.contains(question)) continue;
        points.push_back({answer.confidence, answer.label, calibration::ClusterId(question, points.size())});
        all.without_confidence_A.back() += !answer.stated;
      }
      all.points_AS.back().push_back(std::move(points));
    }
  }
  all.left_out = unknown.size();
  all.questions = all.points_AS[0][0].size();
  if (all.questions == 0) return Fail(ErrorCode::kInvalidInput, "no question has a known label in all arms", "arms");
  return all;
}

using MetricValues = std::array<double, kArmMetrics>;

MetricValues ValuesOf(const calibration::HeadlineMetrics& metrics, double accuracy) { return {accuracy, metrics.brier, metrics.auroc}; }

double WeightedAccuracy(const calibration::Points& points, int replicate) {
  double right = 0, weight = 0;
  for (const calibration::Point& point : points) {
    const double w = replicate == 0 ? 1.0 : calibration::PoissonWeight(point.cluster, static_cast<uint64_t>(replicate));
    right += w * point.y, weight += w;
  }
  return weight > 0 ? right / weight : std::numeric_limits<double>::quiet_NaN();
}

// Of one arm: the value on the data by seed, and by replicate the mean over the seeds that it drew.
struct ArmNumbers {
  std::vector<MetricValues> by_seed_S;
  MetricValues value{};
  std::vector<MetricValues> replicates_B;
};

MetricValues MeanOver(const std::vector<MetricValues>& values_S, const std::vector<size_t>& which) {
  MetricValues mean{};
  for (const size_t s : which)
    for (int m = 0; m < kArmMetrics; ++m) mean[m] += values_S[s][m] / static_cast<double>(which.size());
  return mean;
}

ArmNumbers NumbersOf(const std::vector<calibration::Points>& points_S, int replicates) {
  ArmNumbers numbers;
  const size_t seeds = points_S.size();
  std::vector<size_t> everyone(seeds), drawn(seeds);
  for (size_t s = 0; s < seeds; ++s) everyone[s] = s;
  std::vector<std::vector<MetricValues>> values_BS(static_cast<size_t>(replicates));
  for (const calibration::Points& points : points_S) {
    numbers.by_seed_S.push_back(ValuesOf(calibration::ComputeHeadline(points), WeightedAccuracy(points, 0)));
    const auto headlines = calibration::BootstrapReplicates(points, replicates);
    for (int b = 0; b < replicates; ++b)
      values_BS[static_cast<size_t>(b)].push_back(ValuesOf(headlines[static_cast<size_t>(b)], WeightedAccuracy(points, b + 1)));
  }
  numbers.value = MeanOver(numbers.by_seed_S, everyone);
  const double stretch = seeds > 1 ? std::sqrt(static_cast<double>(seeds) / static_cast<double>(seeds - 1)) : 1.0;
  for (size_t b = 0; b < values_BS.size(); ++b) {
    for (size_t s = 0; s < seeds; ++s) drawn[s] = RandomBits(kSeedDraws, RngStream::kBootstrap, b, s) % seeds;
    const MetricValues all = MeanOver(values_BS[b], everyone);
    MetricValues one = MeanOver(values_BS[b], drawn);
    for (int m = 0; m < kArmMetrics; ++m) one[m] = all[m] + stretch * (one[m] - all[m]);
    numbers.replicates_B.push_back(one);
  }
  return numbers;
}

json ArmNumber(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }

std::vector<double> FiniteColumn(const ArmNumbers& numbers, int metric) {
  std::vector<double> column;
  for (const MetricValues& values : numbers.replicates_B)
    if (std::isfinite(values[metric])) column.push_back(values[metric]);
  return column;
}

json ArmJson(const Arm& arm, const ArmNumbers& numbers, int64_t without_confidence, double level) {
  json one = {{"name", arm.name}, {"seeds", arm.answers_by_seed.size()}, {"without_confidence", without_confidence}};
  for (int m = 0; m < kArmMetrics; ++m) {
    const std::vector<double> column = FiniteColumn(numbers, m);
    json by_seed = json::array();
    const auto bound = [&](double share) { return ArmNumber(std::clamp(calibration::Percentile(column, share), 0.0, 1.0)); };
    for (const MetricValues& values : numbers.by_seed_S) by_seed.push_back(ArmNumber(values[m]));
    one[kArmMetricNames[m]] = {
        {"value", ArmNumber(numbers.value[m])}, {"low", bound((1 - level) / 2)}, {"high", bound((1 + level) / 2)}, {"by_seed", by_seed}};
  }
  return one;
}

struct ArmDifference {
  ArmPair pair;
  int metric;
  double delta;
  std::vector<double> deltas;
};

json DifferencesJson(const std::vector<Arm>& arms, const std::vector<ArmDifference>& differences, double level) {
  std::vector<double> p;
  for (const ArmDifference& d : differences) p.push_back(std::isfinite(d.delta) ? calibration::BootstrapPValue(d.deltas) : std::nan(""));
  const std::vector<double> adjusted = calibration::HolmAdjusted(p), levels = calibration::HolmLevels(p, level);
  json all = json::array();
  for (size_t i = 0; i < differences.size(); ++i) {
    const ArmDifference& d = differences[i];
    all.push_back({{"name", arms[d.pair.arm].name},
                   {"against", arms[d.pair.against].name},
                   {"metric", kArmMetricNames[d.metric]},
                   {"delta", ArmNumber(d.delta)},
                   {"low", ArmNumber(calibration::Percentile(d.deltas, (1 - levels[i]) / 2))},
                   {"high", ArmNumber(calibration::Percentile(d.deltas, (1 + levels[i]) / 2))},
                   {"interval_level", levels[i]},
                   {"p", ArmNumber(p[i])},
                   {"p_holm", adjusted[i]},
                   {"significant", adjusted[i] <= 1 - level}});
  }
  return all;
}

}  // namespace

Result<json> ComparePairedArms(const std::vector<Arm>& arms, const std::vector<ArmPair>& pairs, const PairedArmOptions& options) {
  CANDOR_ASSIGN(const AlignedArms aligned, Align(arms));
  std::vector<ArmNumbers> numbers_A;
  json all = {
      {"questions", aligned.questions}, {"left_out", aligned.left_out}, {"level", options.level}, {"replicates", options.replicates}};
  for (size_t a = 0; a < arms.size(); ++a) {
    numbers_A.push_back(NumbersOf(aligned.points_AS[a], options.replicates));
    all["arms"].push_back(ArmJson(arms[a], numbers_A.back(), aligned.without_confidence_A[a], options.level));
  }
  std::vector<ArmDifference> differences;
  for (const ArmPair& pair : pairs)
    for (int m = 0; m < kArmMetrics; ++m) {
      const ArmNumbers &a = numbers_A.at(pair.arm), &b = numbers_A.at(pair.against);
      ArmDifference d{pair, m, a.value[m] - b.value[m], {}};
      for (size_t r = 0; r < a.replicates_B.size(); ++r)
        if (const double delta = a.replicates_B[r][m] - b.replicates_B[r][m]; std::isfinite(delta)) d.deltas.push_back(delta);
      differences.push_back(std::move(d));
    }
  all["differences"] = DifferencesJson(arms, differences, options.level);
  return all;
}

namespace {

std::string ArmShown(const json& value, const char* form = "{:.3f}") {
  return value.is_number() ? fmt::format(fmt::runtime(form), value.get<double>()) : "-";
}

}  // namespace

std::string PairedArmsText(const json& c) {
  size_t width = 8;
  for (const json& arm : c["arms"]) width = std::max(width, arm["name"].get<std::string>().size());
  std::string text = fmt::format("  {:<{}} {:>5}  {:<22}  {:<22}  {:<22}  {}\n", "arm", width, "seeds", "accuracy", "Brier", "AUROC",
                                 "without confidence");
  for (const json& arm : c["arms"]) {
    text += fmt::format("  {:<{}} {:>5}", arm["name"].get<std::string>(), width, arm["seeds"].get<int>());
    for (const char* metric : kArmMetricNames)
      text += fmt::format("  {:<22}", fmt::format("{} [{}, {}]", ArmShown(arm[metric]["value"]), ArmShown(arm[metric]["low"]),
                                                  ArmShown(arm[metric]["high"])));
    text += fmt::format("  {}\n", arm["without_confidence"].get<int64_t>());
  }
  text += fmt::format("  {} questions, {} bootstrap replicates over questions and seeds, {:.0f} % intervals\n", c["questions"].get<int>(),
                      c["replicates"].get<int>(), 100 * c["level"].get<double>());
  if (c["differences"].empty()) return text;
  text += "\n  differences, paired by question and seed; intervals and p adjusted by Holm over all of them (* excludes zero)\n";
  for (const json& d : c["differences"])
    text += fmt::format("  {:<{}} - {:<{}}  {:<8}  {:>7} [{}, {}]  p {}{}\n", d["name"].get<std::string>(), width,
                        d["against"].get<std::string>(), width, d["metric"].get<std::string>(), ArmShown(d["delta"], "{:+.3f}"),
                        ArmShown(d["low"], "{:+.3f}"), ArmShown(d["high"], "{:+.3f}"), ArmShown(d["p_holm"]),
                        d["significant"].get<bool>() ? " *" : "");
  return text;
}

double BrierOf(const std::vector<AnswerRow>& answers) {
  double sum = 0, count = 0;
  for (const AnswerRow& row : answers) {
    if (!row.greedy || row.label == Label::kUnknown) continue;
    const double miss = row.confidence.value_or(kNoConfidence) - (row.label == Label::kCorrect ? 1.0 : 0.0);
    sum += miss * miss, count += 1;
  }
  return sum / count;
}

}  // namespace candor
