// The tables of an experiment's arms.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "eval/arms.h"

namespace candor {

namespace {

using nlohmann::json;

struct ArmColumn {
  const char *key, *title;
};

std::string ArmCell(const json& figures, const char* key) {
  if (!figures.contains(key)) return "-";
  const json& figure = figures[key];
  std::string text = fmt::format("{:.3f}", figure["value"].get<double>());
  if (figure.contains("low")) text += fmt::format(" [{:.3f}, {:.3f}]", figure["low"].get<double>(), figure["high"].get<double>());
  return text;
}

size_t NameWidth(const json& arms) {
  size_t width = 10;
  for (const json& arm : arms) width = std::max(width, arm["name"].get<std::string>().size());
  return width;
}

// A table of the columns that at least one arm has; nothing where there is none.
std::string ArmTable(const json& arms, const char* title, const std::vector<ArmColumn>& columns) {
  std::vector<ArmColumn> shown;
  for (const ArmColumn& column : columns)
    for (const json& arm : arms)
      if (arm["figures"].contains(column.key)) {
        shown.push_back(column);
        break;
      }
  if (shown.empty()) return "";
  const size_t width = NameWidth(arms);
  std::string text = fmt::format("\n  {}\n  {:<{}} {:>4}", title, "arm", width, "runs");
  for (const ArmColumn& column : shown) text += fmt::format("  {:<23}", column.title);
  text += "\n";
  for (const json& arm : arms) {
    text += fmt::format("  {:<{}} {:>4}", arm["name"].get<std::string>(), width, arm["runs"].size());
    for (const ArmColumn& column : shown) text += fmt::format("  {:<23}", ArmCell(arm["figures"], column.key));
    text += "\n";
  }
  return text;
}

std::string DecileTable(const json& arms, const char* title, const char* key) {
  const size_t width = NameWidth(arms);
  std::string text = fmt::format("\n  {}\n  {:<{}}", title, "tenth", width);
  for (int d = 0; d < 10; ++d) text += fmt::format("  {:.1f}-", d / 10.0);
  text += "\n";
  for (const json& arm : arms) {
    text += fmt::format("  {:<{}}", arm["name"].get<std::string>(), width);
    for (const json& decile : arm["deciles"]) text += decile.contains(key) ? fmt::format(" {:.3f}", decile[key].get<double>()) : "     -";
    text += "\n";
  }
  return text;
}

}  // namespace

std::string ArmsText(const json& comparison) {
  const json& arms = comparison["arms"];
  std::string text = ArmTable(arms, "answers",
                              {{"accuracy", "accuracy"},
                               {"expected_accuracy", "expected accuracy"},
                               {"bayes_accuracy", "best possible"},
                               {"surely_wrong", "surely wrong"},
                               {"answer_prob", "answer probability"},
                               {"pass_1", "pass@1"},
                               {"pass_k", "pass@k"},
                               {"entropy", "entropy"},
                               {"entropy_right", "entropy where right"},
                               {"entropy_wrong", "entropy where wrong"}});
  text += ArmTable(arms, "confidence",
                   {{"brier", "Brier"},
                    {"mcb", "MCB"},
                    {"dsc", "DSC"},
                    {"dsc_shuffled", "DSC, shuffled"},
                    {"auroc", "AUROC"},
                    {"augrc", "AUGRC"},
                    {"ece", "ECE"},
                    {"ece_null95", "null 95 %"}});
  text += ArmTable(arms, "confidence: level, change since before RL, and against the known truth",
                   {{"mean_confidence", "mean"},
                    {"drift", "drift"},
                    {"moved", "moved"},
                    {"confidence_error", "|c - p*|"},
                    {"worst_decile", "worst tenth"},
                    {"slope", "slope of logits"},
                    {"coherence_excess", "coherence: above 1"}});
  text += ArmTable(arms, "acting on it",
                   {{"regret", "regret, mean"}, {"regret_worst", "regret, worst"}, {"abstention", "abstains too much (+)"}});
  if (!arms.empty() && arms.front().contains("deciles")) {
    text += DecileTable(arms, "|c - p*| by the best answer's chance", "confidence_error");
    text += DecileTable(arms, "confidence stated", "mean_confidence");
    text += DecileTable(arms, "chance of the answer given", "mean_chance");
  }
  return text + "\n  Means over an arm's runs; brackets are 95 % intervals over runs and questions.\n";
}

}  // namespace candor
