#include "eval/run_summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "calibration/summary.h"
#include "eval/baselines.h"
#include "eval/consistency.h"
#include "eval/select.h"

namespace candor {

namespace {

using calibration::ComputeSummary;
using nlohmann::json;

json Number(double value) { return std::isfinite(value) ? json(value) : json(nullptr); }
json Pair(const calibration::Interval& interval) { return json::array({Number(interval.low), Number(interval.high)}); }

// The keys that every table of a run has. `accuracy` is over all answers (one whose format failed counts as it was graded); the calibration
// numbers are over those with a confidence.
json Numbers(const std::vector<calibration::Row>& rows) {
  const calibration::CalibrationSummary s = ComputeSummary(rows);
  return {{"n", s.rows},
          {"accuracy", Number(s.accuracy_all_rows)},
          {"accuracy_interval", Pair(s.accuracy_all_rows_interval)},
          {"format_ok", s.rows > 0 ? Number(static_cast<double>(s.n) / static_cast<double>(s.rows)) : json(nullptr)},
          {"brier", Number(s.brier)},
          {"brier_interval", Pair(s.estimates.brier.interval)},
          {"mcb", Number(s.corp.mcb)},
          {"dsc", Number(s.corp.dsc)},
          {"unc", Number(s.corp.unc)},
          {"auroc", Number(s.auroc)},
          {"auroc_interval", Pair(s.estimates.auroc.interval)},
          {"augrc", Number(s.augrc)},
          {"augrc_interval", Pair(s.estimates.augrc.interval)},
          {"ece", Number(s.ece_independent[1])},
          {"ece_floor", Number(s.ece_floor[1])},
          {"ece_null95", Number(s.ece_null95[1])},
          {"mean_confidence", Number(s.confidence.mean)},
          {"signed_gap", Number(s.gap.mean)},
          {"signed_gap_interval", Pair(s.gap.interval)},
          {"confidence_sd", Number(std::sqrt(s.sharpness.variance))}};
}

json SetNumbers(const std::vector<AnswerRow>& rows) {
  json numbers = Numbers(ToRows(rows));
  std::vector<std::optional<double>> confidences;
  for (const AnswerRow& row : rows) confidences.push_back(row.confidence);
  numbers["within_answer_auroc"] = Number(WithinAnswerAuroc(rows, confidences));
  return numbers;
}

json SliceNumbers(const std::vector<AnswerRow>& rows) {
  std::set<std::string> names;
  for (const AnswerRow& row : rows) names.insert(row.slices.begin(), row.slices.end());
  json slices = json::object();
  for (const std::string& name : names) {
    std::vector<AnswerRow> part;
    for (const AnswerRow& row : rows)
      if (std::find(row.slices.begin(), row.slices.end(), name) != row.slices.end()) part.push_back(row);
    slices[name] = SetNumbers(part);
  }
  return slices;
}

json Moment(const std::vector<AnswerRow>& answers) {
  json moment = {{"held_out", SetNumbers(Select(answers, {.role = "held_out", .greedy = true}))}};
  if (auto ood = Select(answers, {.role = "out_of_domain", .greedy = true}); !ood.empty()) moment["out_of_domain"] = SetNumbers(ood);
  if (auto sampled = Select(answers, {.role = "held_out", .greedy = false}); !sampled.empty())
    moment["held_out_sampled"] = SetNumbers(sampled);
  for (const std::string& name : DatasetNames(answers)) {
    const auto part = Select(answers, {.dataset = name, .greedy = true});
    moment["sets"][name] = SetNumbers(part);
    if (!part.empty()) moment["sets"][name]["role"] = part.front().role;
    const std::vector<AnswerRow> all = Select(answers, {.dataset = name});
    if (const auto entropy = ComputeSemanticEntropyFigures(all); entropy.Any()) moment["sets"][name]["semantic_entropy"] = ToJson(entropy);
    if (const auto phrasings = ComputeParaphraseFigures(all); phrasings.questions > 0)
      moment["sets"][name]["paraphrases"] = ToJson(phrasings);
  }
  moment["slices"] = SliceNumbers(Select(answers, {.role = "held_out", .greedy = true}));
  return moment;
}

json BaselineNumbers(const std::vector<AnswerRow>& answers) {
  const auto dev = Select(answers, {.role = "dev", .greedy = true}), held_out = Select(answers, {.role = "held_out", .greedy = true});
  json all = json::object();
  for (const Baseline& baseline : ComputeBaselines(dev, held_out)) {
    json numbers = Numbers(ToRows(held_out, baseline.confidences));
    numbers["within_answer_auroc"] = Number(WithinAnswerAuroc(held_out, baseline.confidences));
    numbers["explanation"] = baseline.explanation;
    all[baseline.name] = numbers;
  }
  return all;
}

json DifferenceJson(const calibration::Difference& d) {
  return {{"delta", Number(d.delta)}, {"interval", Pair(d.interval)}, {"excludes_zero", d.excludes_zero()}};
}

// The trained confidence against the best baseline on the same answers, by Brier: does the slot say more than the answer's own probability?
json AgainstBaseline(const std::vector<AnswerRow>& answers) {
  const auto dev = Select(answers, {.role = "dev", .greedy = true}), held_out = Select(answers, {.role = "held_out", .greedy = true});
  json all = json::object();
  for (const Baseline& baseline : ComputeBaselines(dev, held_out)) {
    auto compared = calibration::ComparePaired(ToRows(held_out, baseline.confidences), ToRows(held_out));
    if (compared) all[baseline.name] = {{"brier", DifferenceJson(compared->brier)}, {"auroc", DifferenceJson(compared->auroc)}};
  }
  return all;
}

bool Excludes(const json& difference, bool wants_negative) {
  if (!difference.is_object() || !difference.value("excludes_zero", false)) return false;
  return (difference["delta"].get<double>() < 0) == wants_negative;
}

// Below this the numbers of confidence speak of a part of the answers only.
constexpr double kFormatHeld = 0.9;

// What RL did to a policy whose slot was warmed up before: the warm-up trains the confidence, RL the answers as well.
std::string ShareOfRl(const json& paired) {
  std::string text;
  for (const auto& [key, title] : {std::pair{"accuracy", "accuracy"}, std::pair{"brier", "Brier"}, std::pair{"auroc", "AUROC"}})
    if (const json& d = paired[key]; d["delta"].is_number() && d["interval"][0].is_number())
      text += fmt::format("{}{} {:+.3f} [{:+.3f}, {:+.3f}]", text.empty() ? "" : ", ", title, d["delta"].get<double>(),
                          d["interval"][0].get<double>(), d["interval"][1].get<double>());
  return "Of that, RL after the warm-up: " + text + ".";
}

std::vector<std::string> Verdict(const json& s) {
  std::vector<std::string> words;
  const std::string by = s.contains("warm_up") ? "by warm-up and RL" : "by RL";
  const json& held_out = s[s.contains("after") ? "after" : "before"]["held_out"];
  if (held_out["format_ok"].is_number() && held_out["format_ok"].get<double>() < kFormatHeld)
    words.push_back(
        fmt::format("Only {:.0f} % of the held-out answers hold the format that was asked for, and only those have a confidence. The stage "
                    "sft teaches a "
                    "format; so does an easier [format].",
                    100 * held_out["format_ok"].get<double>()));
  if (!s.contains("paired")) return words;
  const json& paired = s["paired"];
  auto say = [&](const char* what, const json& d, bool lower_is_better) {
    const double delta = d["delta"].is_number() ? d["delta"].get<double>() : NAN;
    if (Excludes(d, lower_is_better))
      words.push_back(fmt::format("{} improved {}: {:+.3f} [{:+.3f}, {:+.3f}].", what, by, delta, d["interval"][0].get<double>(),
                                  d["interval"][1].get<double>()));
    else if (Excludes(d, !lower_is_better))
      words.push_back(fmt::format("{} got WORSE {}: {:+.3f} [{:+.3f}, {:+.3f}].", what, by, delta, d["interval"][0].get<double>(),
                                  d["interval"][1].get<double>()));
    else if (std::isfinite(delta))
      words.push_back(fmt::format("{} did not change measurably ({:+.3f}).", what, delta));
    else
      words.push_back(fmt::format("{} cannot be compared: too few answers have a confidence, or all are right or all wrong.", what));
  };
  say("Accuracy", paired["accuracy"], false);
  say("The Brier score", paired["brier"], true);
  say("AUROC", paired["auroc"], false);
  if (s.contains("paired_after_warm_up")) words.push_back(ShareOfRl(s["paired_after_warm_up"]));
  const json& against = s["against_baselines"];
  if (!against.contains("after") || !against["after"].contains("answer_probability_platt")) return words;
  const json& d = against["after"]["answer_probability_platt"]["brier"];
  if (!d["delta"].is_number()) return words;
  const double delta = d["delta"].get<double>();
  if (Excludes(d, true))
    words.push_back(
        fmt::format("The confidence beats the trained model's own Platt-scaled answer probability (Brier {:+.3f}): it knows more than the "
                    "answer's probability says.",
                    delta));
  else if (Excludes(d, false))
    words.push_back(
        fmt::format("The confidence is worse than the trained model's own Platt-scaled answer probability (Brier {:+.3f}): that free "
                    "signal still says more.",
                    delta));
  else
    words.push_back(fmt::format(
        "The confidence equals the trained model's own Platt-scaled answer probability within its interval (Brier {:+.3f}).", delta));
  return words;
}

}  // namespace

namespace {

// Held-out greedy answers of two moments, question by question; null where they cannot be compared.
json PairedJson(const std::vector<AnswerRow>& from, const std::vector<AnswerRow>& to) {
  const AnswerFilter held_out{.role = "held_out", .greedy = true};
  const auto paired = calibration::ComparePaired(ToRows(Select(from, held_out)), ToRows(Select(to, held_out)));
  if (!paired) return nullptr;
  return {{"accuracy", DifferenceJson(paired->accuracy)}, {"brier", DifferenceJson(paired->brier)},
          {"auroc", DifferenceJson(paired->auroc)},       {"augrc", DifferenceJson(paired->augrc)},
          {"ece", DifferenceJson(paired->ece15)},         {"mean_confidence", DifferenceJson(paired->mean_confidence)}};
}

}  // namespace

json RunSummary(const RunAnswers& answers) {
  json s = {{"name", answers.name}, {"before", Moment(answers.before)}};
  s["baselines"]["before"] = BaselineNumbers(answers.before);
  s["against_baselines"]["before"] = AgainstBaseline(answers.before);
  if (!answers.after.empty()) {
    s["after"] = Moment(answers.after);
    s["baselines"]["after"] = BaselineNumbers(answers.after);
    s["against_baselines"]["after"] = AgainstBaseline(answers.after);
    if (json paired = PairedJson(answers.before, answers.after); !paired.is_null()) s["paired"] = paired;
  }
  if (!answers.warm_up.empty()) {
    s["warm_up"] = Moment(answers.warm_up);
    if (json paired = PairedJson(answers.warm_up, answers.after); !paired.is_null()) s["paired_after_warm_up"] = paired;
  }
  s["verdict"] = Verdict(s);
  return s;
}

namespace {

std::string Shown(const json& numbers, const char* key, int digits = 3) {
  return numbers.contains(key) && numbers[key].is_number() ? fmt::format("{:.{}f}", numbers[key].get<double>(), digits) : "-";
}
std::string Between(const json& numbers, const char* key) {
  const std::string interval = std::string(key) + "_interval";
  if (!numbers.contains(interval) || !numbers[interval][0].is_number()) return "";
  return fmt::format(" [{:.3f}, {:.3f}]", numbers[interval][0].get<double>(), numbers[interval][1].get<double>());
}

std::string Line(const std::string& name, const json& n) {
  return fmt::format("  {:<34} {:>5}  {:>6}  {:>10}  {:<22}  {:>6} ({:>5})  {:<22}  {:>6}\n", name, n.value("n", 0), Shown(n, "accuracy"),
                     Shown(n, "mean_confidence"), Shown(n, "brier") + Between(n, "brier"), Shown(n, "ece"), Shown(n, "ece_null95"),
                     Shown(n, "auroc") + Between(n, "auroc"), Shown(n, "augrc"));
}

}  // namespace

std::vector<std::string> SetNames(const json& summary) {
  std::vector<std::pair<int, std::string>> order;
  for (const auto& [name, numbers] : summary["before"]["sets"].items()) {
    const std::string role = numbers.value("role", "");
    order.emplace_back(role == "held_out" ? 0 : role == "out_of_domain" ? 1 : 2, name);
  }
  std::sort(order.begin(), order.end());
  std::vector<std::string> names;
  for (const auto& [rank, name] : order) names.push_back(name);
  return names;
}

std::string SummaryText(const json& s) {
  std::string text = fmt::format("  {:<34} {:>5}  {:>6}  {:>10}  {:<22}  {:>14}  {:<22}  {:>6}\n", "greedy answers", "n", "acc",
                                 "confidence", "Brier", "ECE (null 95%)", "AUROC", "AUGRC");
  for (const std::string& name : SetNames(s))
    for (const auto& [moment, title] : kMoments)
      if (s.contains(moment) && s[moment]["sets"].contains(name)) text += Line(fmt::format("{}, {}", name, title), s[moment]["sets"][name]);
  text += "\n  without RL, on the held-out answers\n";
  for (const char* moment : {"before", "after"}) {
    if (!s["baselines"].contains(moment)) continue;
    for (const auto& [name, numbers] : s["baselines"][moment].items()) text += Line(fmt::format("{}, {} RL", name, moment), numbers);
  }
  text += "\n";
  for (const json& sentence : s["verdict"]) text += "  " + sentence.get<std::string>() + "\n";
  return text;
}

}  // namespace candor
