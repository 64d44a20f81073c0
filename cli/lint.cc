#include "cli/lint.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/channel_expression.h"

namespace candor::cli {

namespace {

// sup over p of loss(p, wrong) against right: how much a report of confidence 0 can gain over an honest one (Brier: 1 - 2p <= 1).
constexpr double kBrierSpread = 1.0;

struct Weights {
  double accuracy = 0, calibration = 0;
};

// How much a channel weighs in an expression: what it adds when it goes from 0 to 1 with all others at 0 (expressions are sums).
double WeightOf(const ChannelExpression& expression, const std::string& channel) {
  std::map<std::string, double> values;
  for (const std::string& name : expression.names()) values[name] = 0.0;
  if (!values.count(channel)) return 0.0;
  const double without = expression.Evaluate(values).value_or(0.0);
  values[channel] = 1.0;
  return expression.Evaluate(values).value_or(0.0) - without;
}

// The effective weights of accuracy and of the Brier channel in one policy-gradient objective.
Weights WeightsOf(const ObjectiveOptions& objective) {
  auto expression = ChannelExpression::Parse(objective.channel);
  if (!expression) return {};
  return {objective.weight * WeightOf(*expression, "accuracy"), objective.weight * WeightOf(*expression, "brier")};
}

bool ReachesAnswer(const ObjectiveOptions& o) {
  return o.loss == "policy_gradient" && (o.segment == "all" || o.segment == "answer" || o.segment == "reasoning");
}

void LintPolicyGradient(const ObjectiveOptions& o, const Weights& total, std::vector<Finding>& findings) {
  const Weights own = WeightsOf(o);
  if (own.calibration <= 0) return;
  if (ReachesAnswer(o) && own.calibration * kBrierSpread > total.accuracy)
    findings.push_back(
        {"calibration_outweighs_accuracy", true, false,
         fmt::format("calibration weighs {:g} and accuracy {:g} on tokens of the answer", own.calibration, total.accuracy),
         "an answer that is surely wrong, stated with confidence 0, then earns more than an honest uncertain one: with V(p) = w_acc p - "
         "w_cal p (1 - p), V rises everywhere "
         "only if w_cal <= w_acc",
         "lower the calibration weight, or let it reach only tokens after the answer (segment = \"confidence\" or the slot)"});
  if (o.advantage == "group_std")
    findings.push_back({"group_std_of_scoring_rule", true, false,
                        fmt::format("`{}` is divided by its group's standard deviation", o.channel),
                        "the standard deviation depends on the labels, so that the rule is no longer proper: confidences are pushed to the "
                        "extremes (p = .7 becomes .79, .9 becomes 1.0)",
                        "use advantage = \"group_mean\", or batch_std, which divides everything by one number"});
}

void LintSlot(const Recipe& r, const ObjectiveOptions& o, std::vector<Finding>& findings) {
  if (o.segment != "slot") return;
  if (o.target < 1)
    findings.push_back({"hybrid_target", false, false,
                        fmt::format("the slot's target is {:g} of the label and {:g} of the group's mean", o.target, 1 - o.target),
                        "the mean of sampled answers is not the accuracy of the greedy one: its confidence is trained towards the wrong "
                        "number by (1 - target)(p_sampled - p_greedy)",
                        "target = 1 gives P(correct | prompt, answer)"});
  if (r.rollout.greedy_traces == 0)
    findings.push_back({"no_greedy_trace", false, false, "no greedy answer trains the slot",
                        "users get greedy answers, whose accuracy differs from that of sampled ones",
                        "rollout.greedy_traces = 1 (it trains only the slot)"});
}

}  // namespace

std::vector<Finding> Lint(const Recipe& recipe) {
  std::vector<Finding> findings;
  Weights total;
  for (const ObjectiveOptions& o : recipe.objectives)
    if (ReachesAnswer(o)) total.accuracy += WeightsOf(o).accuracy;
  for (const ObjectiveOptions& o : recipe.objectives) {
    if (o.loss == "policy_gradient") LintPolicyGradient(o, total, findings);
    LintSlot(recipe, o, findings);
  }
  if (recipe.reward.filter != "accuracy" && recipe.reward.filter != "none" && recipe.reward.filter != "")
    findings.push_back({"filter_not_on_accuracy", false, false, "groups are filtered by " + recipe.reward.filter,
                        "a channel that contains confidence hardly ever stands still: the filter never fires",
                        "reward.filter = \"accuracy\""});
  for (Finding& finding : findings)
    finding.allowed = std::find(recipe.run.allow.begin(), recipe.run.allow.end(), finding.name) != recipe.run.allow.end();
  return findings;
}

std::string Describe(const Finding& f) {
  const char* verdict = f.allowed ? "allowed by the recipe" : f.refuses ? "REFUSED" : "warning";
  std::string text = fmt::format("{} ({}): {}\n  why: {}\n  fix: {}", verdict, f.name, f.what, f.why, f.fix);
  if (f.refuses && !f.allowed) text += fmt::format("\n  or, if it is meant: allow = [\"{}\"]", f.name);
  return text;
}

bool Refused(const std::vector<Finding>& findings) {
  return std::any_of(findings.begin(), findings.end(), [](const Finding& f) { return f.refuses && !f.allowed; });
}

}  // namespace candor::cli
