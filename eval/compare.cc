#include "eval/compare.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "calibration/summary.h"
#include "eval/baselines.h"
#include "eval/select.h"

namespace candor {

namespace {

using nlohmann::json;

const std::vector<AnswerRow>& Final(const RunAnswers& run) { return run.after.empty() ? run.before : run.after; }

json Difference(const calibration::Difference& d) {
  auto number = [](double value) { return std::isfinite(value) ? json(value) : json(nullptr); };
  return {
      {"delta", number(d.delta)}, {"low", number(d.interval.low)}, {"high", number(d.interval.high)}, {"excludes_zero", d.excludes_zero()}};
}

std::string Shown(const json& value, int digits = 3) {
  return value.is_number() ? fmt::format("{:.{}f}", value.get<double>(), digits) : "-";
}

}  // namespace

Result<json> CompareRuns(const std::vector<RunAnswers>& runs) {
  json all = {{"runs", json::array()}, {"differences", json::array()}};
  const auto reference = ToRows(Select(Final(runs[0]), {.role = "held_out", .greedy = true}));
  for (const RunAnswers& run : runs) {
    json summary = RunSummary(run);
    const char* moment = run.after.empty() ? "before" : "after";
    json numbers = summary[moment]["held_out"];
    numbers["name"] = run.name;
    numbers["moment"] = moment;
    json& baselines = summary["baselines"][moment];
    if (baselines.contains("answer_probability_platt")) numbers["answer_probability_platt"] = baselines["answer_probability_platt"];
    if (summary[moment].contains("out_of_domain")) numbers["out_of_domain"] = summary[moment]["out_of_domain"];
    all["runs"].push_back(numbers);
    if (&run == &runs[0]) continue;
    CANDOR_ASSIGN(calibration::PairedComparison paired,
                  calibration::ComparePaired(reference, ToRows(Select(Final(run), {.role = "held_out", .greedy = true}))));
    all["differences"].push_back({{"name", run.name},
                                  {"against", runs[0].name},
                                  {"prompts", paired.prompts},
                                  {"accuracy", Difference(paired.accuracy)},
                                  {"brier", Difference(paired.brier)},
                                  {"auroc", Difference(paired.auroc)},
                                  {"augrc", Difference(paired.augrc)}});
  }
  return all;
}

std::string ComparisonText(const json& comparison) {
  std::string text =
      fmt::format("  {:<28} {:>5}  {:>8}  {:>10}  {:>7}  {:>22}  {:>14}  {:>7}  {:>7}  {:>22}\n", "held out, greedy, after RL", "n",
                  "accuracy", "confidence", "Brier", "= MCB - DSC + UNC", "ECE (null 95%)", "AUROC", "AUGRC", "answer prob. (Platt)");
  for (const json& run : comparison["runs"]) {
    std::string platt = run.contains("answer_probability_platt")
                            ? fmt::format("Brier {} AUROC {}", Shown(run["answer_probability_platt"]["brier"]),
                                          Shown(run["answer_probability_platt"]["auroc"], 2))
                            : "-";
    text += fmt::format("  {:<28} {:>5}  {:>8}  {:>10}  {:>7}  {:>22}  {:>6} ({:>5})  {:>7}  {:>7}  {:>22}\n",
                        run["name"].get<std::string>() + (run["moment"] == "before" ? " (before RL)" : ""), run.value("n", 0),
                        Shown(run["accuracy"]), Shown(run["mean_confidence"]), Shown(run["brier"]),
                        fmt::format("{} - {} + {}", Shown(run["mcb"]), Shown(run["dsc"]), Shown(run["unc"])), Shown(run["ece"]),
                        Shown(run["ece_null95"]), Shown(run["auroc"]), Shown(run["augrc"]), platt);
  }
  if (comparison["differences"].empty()) return text;
  text += fmt::format("\n  paired differences on the same prompts, 95 % intervals (* excludes zero)\n");
  for (const json& d : comparison["differences"]) {
    text += fmt::format("  {} - {} ({} prompts)\n", d["name"].get<std::string>(), d["against"].get<std::string>(), d["prompts"].get<int>());
    for (const char* metric : {"accuracy", "brier", "auroc", "augrc"})
      text += fmt::format("    {:<9} {:>7} [{}, {}]{}\n", metric,
                          d[metric]["delta"].is_number() ? fmt::format("{:+.3f}", d[metric]["delta"].get<double>()) : "-",
                          Shown(d[metric]["low"]), Shown(d[metric]["high"]), d[metric]["excludes_zero"].get<bool>() ? " *" : "");
  }
  return text;
}

}  // namespace candor
