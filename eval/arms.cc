#include "eval/arms.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "calibration/decisions.h"
#include "calibration/intervals.h"
#include "calibration/isotonic.h"
#include "calibration/ranking.h"
#include "calibration/rollout_stats.h"
#include "core/rng.h"
#include "eval/select.h"

namespace candor {

namespace {

using nlohmann::json;

constexpr int kArmReplicates = 200;
constexpr double kNothing = std::numeric_limits<double>::quiet_NaN();

// What one run said to one question; NaN where it is not there.
struct Question {
  std::string prompt;
  double label = kNothing, confidence = kNothing, shuffled = kNothing, before = kNothing, answer_prob = kNothing;
  double chance = kNothing, best = kNothing;
  double pass_1 = kNothing, pass_k = kNothing, entropy = kNothing, excess = kNothing;
  int readable = 0;  // samples that kept the format
};
using Questions = std::vector<Question>;
using FigureMap = std::map<std::string, double>;

class KnownMean {
 public:
  void Add(double value) {
    if (std::isfinite(value)) sum_ += value, n_ += 1;
  }
  double Get() const { return n_ > 0 ? sum_ / n_ : kNothing; }

 private:
  double sum_ = 0, n_ = 0;
};

double OrNothing(const std::optional<double>& value) { return value ? *value : kNothing; }

void ReadSamples(const std::vector<const AnswerRow*>& samples, Question& q) {
  calibration::Answers answers;
  std::vector<std::optional<double>> confidences;
  std::map<std::string, double> counts;
  int right = 0, known = 0;
  for (const AnswerRow* row : samples) {
    answers.push_back(row->format_error.empty() ? std::optional(PlainAnswer(row->answer)) : std::nullopt);
    confidences.push_back(row->confidence);
    if (row->format_error.empty()) counts[PlainAnswer(row->answer)] += 1;
    known += row->label != Label::kUnknown ? 1 : 0;
    right += row->label == Label::kCorrect ? 1 : 0;
  }
  if (known > 0) q.pass_1 = calibration::PassAtK(known, right, 1), q.pass_k = calibration::PassAtK(known, right, known);
  double total = 0;
  for (const auto& [answer, count] : counts) total += count;
  q.readable = static_cast<int>(total);
  if (total > 0) q.entropy = 0;
  for (const auto& [answer, count] : counts) q.entropy -= count / total * std::log(count / total);
  if (const auto coherence = calibration::ComputeCoherence(answers, confidences); coherence.distinct > 0) q.excess = coherence.excess();
}

// Exchanges the confidences of the questions that have one, the same way every time.
void ExchangeConfidences(Questions& questions) {
  std::vector<size_t> stated;
  for (size_t i = 0; i < questions.size(); ++i)
    if (std::isfinite(questions[i].confidence)) stated.push_back(i);
  std::vector<uint32_t> order(stated.size());
  EpochOrder(0, 0, static_cast<uint32_t>(stated.size()), order.data());
  for (size_t i = 0; i < stated.size(); ++i) questions[stated[i]].shuffled = questions[stated[order[i]]].confidence;
}

Result<Questions> QuestionsOf(const RunAnswers& run, const KnownChances* chances) {
  const std::vector<AnswerRow>& final_rows = run.after.empty() ? run.before : run.after;
  const auto greedy = Select(final_rows, {.role = "held_out", .greedy = true});
  const auto sampled = Select(final_rows, {.role = "held_out", .greedy = false});
  std::map<std::string, std::vector<const AnswerRow*>> samples;
  for (const AnswerRow& row : sampled) samples[row.prompt].push_back(&row);
  std::map<std::string, double> before;
  if (!run.after.empty())
    for (const AnswerRow& row : Select(run.before, {.role = "held_out", .greedy = true})) before[row.prompt] = OrNothing(row.confidence);
  Questions questions;
  for (const AnswerRow& row : greedy) {
    Question q;
    q.prompt = row.prompt;
    if (row.label != Label::kUnknown) q.label = row.label == Label::kCorrect ? 1 : 0;
    q.confidence = OrNothing(row.confidence);
    if (const auto found = before.find(row.prompt); found != before.end()) q.before = found->second;
    if (const auto found = row.signals.find("answer_prob"); found != row.signals.end()) q.answer_prob = found->second;
    if (const auto found = samples.find(row.prompt); found != samples.end()) ReadSamples(found->second, q);
    if (chances) {
      CANDOR_ASSIGN(const GivenChance chance, ChanceOf(*chances, row));
      q.chance = chance.given, q.best = chance.best;
    }
    questions.push_back(std::move(q));
  }
  ExchangeConfidences(questions);
  return questions;
}

using Chosen = std::vector<const Question*>;

void AddMeans(const Chosen& chosen, FigureMap& figures) {
  KnownMean accuracy, confidence, prob, drift, moved, pass_1, pass_k, entropy, entropy_right, entropy_wrong, excess;
  for (const Question* q : chosen) {
    accuracy.Add(q->label), confidence.Add(q->confidence), prob.Add(q->answer_prob);
    drift.Add(q->confidence - q->before), moved.Add(std::abs(q->confidence - q->before));
    pass_1.Add(q->pass_1), pass_k.Add(q->pass_k), entropy.Add(q->entropy), excess.Add(q->excess);
    if (q->readable > 1 && std::isfinite(q->label)) (q->label == 1 ? entropy_right : entropy_wrong).Add(q->entropy);
  }
  figures["accuracy"] = accuracy.Get(), figures["mean_confidence"] = confidence.Get(), figures["answer_prob"] = prob.Get();
  figures["drift"] = drift.Get(), figures["moved"] = moved.Get();
  figures["pass_1"] = pass_1.Get(), figures["pass_k"] = pass_k.Get();
  figures["entropy_right"] = entropy_right.Get(), figures["entropy_wrong"] = entropy_wrong.Get();
  figures["entropy"] = entropy.Get(), figures["coherence_excess"] = excess.Get();
}

void AddCalibration(const Chosen& chosen, FigureMap& figures) {
  calibration::Points points, shuffled;
  for (const Question* q : chosen)
    if (std::isfinite(q->label) && std::isfinite(q->confidence)) {
      points.push_back({q->confidence, q->label, points.size()});
      shuffled.push_back({q->shuffled, q->label, shuffled.size()});
    }
  if (points.empty()) return;
  const calibration::HeadlineMetrics headline = calibration::ComputeHeadline(points);
  const calibration::Corp corp = calibration::ComputeCorp(points);
  figures["brier"] = headline.brier, figures["auroc"] = headline.auroc, figures["augrc"] = headline.augrc, figures["ece"] = headline.ece15;
  figures["mcb"] = corp.mcb, figures["dsc"] = corp.dsc;
  figures["dsc_shuffled"] = calibration::ComputeCorp(shuffled).dsc;
}

void AddTruth(const Chosen& chosen, FigureMap& figures) {
  KnownMean right, best, surely_wrong, error, by_decile[kTruthDeciles];
  std::vector<calibration::KnownPoint> known;
  std::vector<calibration::AbstentionRow> decisions;
  for (const Question* q : chosen) {
    right.Add(q->chance), best.Add(q->best), surely_wrong.Add(q->chance == 0 && q->best > 0 ? 1 : 0);
    if (!std::isfinite(q->confidence)) continue;
    error.Add(std::abs(q->confidence - q->chance)), by_decile[TruthDecile(q->best)].Add(std::abs(q->confidence - q->chance));
    known.push_back({q->confidence, q->chance});
    decisions.push_back({q->chance < 0.5, q->confidence < 0.5, q->label == 1});
  }
  double worst = kNothing;
  for (const KnownMean& decile : by_decile)
    if (std::isfinite(decile.Get()) && !(worst >= decile.Get())) worst = decile.Get();
  const calibration::RegretOverThresholds regret = calibration::ComputeRegret(known);
  figures["expected_accuracy"] = right.Get(), figures["bayes_accuracy"] = best.Get(), figures["surely_wrong"] = surely_wrong.Get();
  figures["confidence_error"] = error.Get(), figures["worst_decile"] = worst, figures["slope"] = calibration::LogitSlope(known);
  figures["regret"] = regret.mean, figures["regret_worst"] = regret.worst;
  figures["abstention"] = calibration::ComputeAbstention(decisions).direction;
}

FigureMap FiguresOf(const Chosen& chosen, bool known) {
  FigureMap figures;
  AddMeans(chosen, figures);
  AddCalibration(chosen, figures);
  if (known) AddTruth(chosen, figures);
  return figures;
}

Chosen AllQuestions(const Questions& questions) {
  Chosen chosen;
  for (const Question& q : questions) chosen.push_back(&q);
  return chosen;
}

double NullEce(const Questions& questions) {
  calibration::Points points;
  for (const Question& q : questions)
    if (std::isfinite(q.confidence)) points.push_back({q.confidence, 0.0, points.size()});
  return points.empty() ? kNothing : calibration::SimulateEceNull(points).quantile95_15;
}

// The runs' mean of every figure; a figure that one of them lacks is averaged over the others.
FigureMap MeanOf(const std::vector<FigureMap>& runs) {
  std::map<std::string, KnownMean> sums;
  for (const FigureMap& run : runs)
    for (const auto& [key, value] : run) sums[key].Add(value);
  FigureMap means;
  for (const auto& [key, sum] : sums) means[key] = sum.Get();
  return means;
}

// Replicate b draws runs, then the same questions for all of them: the runs of an arm are asked one set.
FigureMap Replicate(const std::vector<Questions>& runs, uint64_t b, bool known) {
  std::vector<FigureMap> drawn;
  for (uint64_t r = 0; r < runs.size(); ++r) {
    const Questions& questions = runs[RandomBits(0, RngStream::kBootstrap, b, r, 0) % runs.size()];
    Chosen chosen;
    for (uint64_t i = 0; i < questions.size(); ++i)
      chosen.push_back(&questions[RandomBits(0, RngStream::kBootstrap, b, i, 1) % questions.size()]);
    drawn.push_back(FiguresOf(chosen, known));
  }
  return MeanOf(drawn);
}

// An interval around an estimate near an end of [0, 1] does not reach beyond it.
bool IsShare(const std::string& key) {
  static const std::set<std::string> shares = {"accuracy",
                                               "brier",
                                               "auroc",
                                               "augrc",
                                               "ece",
                                               "mean_confidence",
                                               "answer_prob",
                                               "pass_1",
                                               "pass_k",
                                               "moved",
                                               "expected_accuracy",
                                               "bayes_accuracy",
                                               "surely_wrong",
                                               "confidence_error",
                                               "worst_decile"};
  return shares.count(key) > 0;
}

json FiguresJson(const std::vector<Questions>& runs, bool known) {
  std::vector<FigureMap> by_run;
  for (const Questions& questions : runs) {
    by_run.push_back(FiguresOf(AllQuestions(questions), known));
    by_run.back()["ece_null95"] = NullEce(questions);
  }
  std::map<std::string, std::vector<double>> replicates;
  for (uint64_t b = 1; b <= kArmReplicates; ++b)
    for (const auto& [key, value] : Replicate(runs, b, known)) replicates[key].push_back(value);
  json figures = json::object();
  for (const auto& [key, value] : MeanOf(by_run)) {
    if (!std::isfinite(value)) continue;
    json& figure = figures[key] = {{"value", value}, {"by_run", json::array()}};
    for (const FigureMap& run : by_run)
      figure["by_run"].push_back(run.contains(key) && std::isfinite(run.at(key)) ? json(run.at(key)) : json(nullptr));
    if (!replicates.contains(key)) continue;
    calibration::Interval interval = calibration::EstimateFrom(value, replicates[key], 0.95).interval;
    if (!std::isfinite(interval.low)) continue;
    if (IsShare(key)) interval = {std::clamp(interval.low, 0.0, 1.0), std::clamp(interval.high, 0.0, 1.0)};
    figure["low"] = interval.low, figure["high"] = interval.high;
  }
  return figures;
}

// By best, all runs together, and what each run stated.
json DecilesJson(const std::vector<Questions>& runs) {
  KnownMean error[kTruthDeciles], stated[kTruthDeciles], chance[kTruthDeciles];
  int n[kTruthDeciles] = {};
  std::vector<std::array<KnownMean, kTruthDeciles>> by_run(runs.size());
  for (size_t r = 0; r < runs.size(); ++r)
    for (const Question& q : runs[r]) {
      if (!std::isfinite(q.confidence)) continue;
      const int d = TruthDecile(q.best);
      ++n[d], error[d].Add(std::abs(q.confidence - q.chance)), stated[d].Add(q.confidence), chance[d].Add(q.chance);
      by_run[r][d].Add(q.confidence);
    }
  json deciles = json::array();
  for (int d = 0; d < kTruthDeciles; ++d) {
    json& decile = deciles.emplace_back(json{{"n", n[d]}});
    if (n[d] == 0) continue;
    decile["confidence_error"] = error[d].Get(), decile["mean_confidence"] = stated[d].Get(), decile["mean_chance"] = chance[d].Get();
    for (const auto& run : by_run) decile["by_run"].push_back(std::isfinite(run[d].Get()) ? json(run[d].Get()) : json(nullptr));
  }
  return deciles;
}

}  // namespace

std::string ArmOf(const std::string& run_name) {
  const size_t digits = run_name.find_last_not_of("0123456789");
  constexpr std::string_view before = "seed-";
  if (digits == std::string::npos || digits + 1 == run_name.size() || digits + 1 < before.size()) return run_name;
  const size_t at = digits + 1 - before.size();
  if (run_name.compare(at, before.size(), before) != 0) return run_name;
  if (at == 0) return "seed";
  return run_name[at - 1] == '_' ? run_name.substr(0, at - 1) : run_name;
}

Result<json> CompareArms(const std::vector<RunAnswers>& runs, const KnownChances* chances) {
  std::vector<std::string> names;
  std::map<std::string, std::vector<Questions>> arms;
  std::map<std::string, json> runs_of;
  std::map<std::string, const RunAnswers*> first_of;
  for (const RunAnswers& run : runs) {
    const std::string arm = ArmOf(run.name);
    const RunAnswers& first = *first_of.try_emplace(arm, &run).first->second;
    if (first.after.empty() != run.after.empty())
      return Fail(ErrorCode::kInvalidInput,
                  "this run has no answers after RL, and " + (run.after.empty() ? first : run).name + " of the same arm has",
                  (run.after.empty() ? run : first).name, "let it finish (candor run .. --resume), or leave it out");
    if (!arms.contains(arm)) names.push_back(arm), runs_of[arm] = json::array();
    CANDOR_ASSIGN(Questions questions, QuestionsOf(run, chances));
    arms[arm].push_back(std::move(questions)), runs_of[arm].push_back(run.name);
  }
  json all = {{"arms", json::array()}};
  for (const std::string& name : names) {
    const std::vector<Questions>& of_arm = arms[name];
    json one = {{"name", name}, {"runs", runs_of[name]}, {"questions", of_arm.front().size()}};
    one["figures"] = FiguresJson(of_arm, chances != nullptr);
    if (chances) one["deciles"] = DecilesJson(of_arm);
    all["arms"].push_back(std::move(one));
  }
  return all;
}

}  // namespace candor
