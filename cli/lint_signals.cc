#include "cli/lint_signals.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "core/channel_expression.h"
#include "reward/channels.h"

namespace candor::cli {

namespace {

bool IsOneOf(const std::string& name, const std::vector<std::string>& names) {
  return std::find(names.begin(), names.end(), name) != names.end();
}

// What a trace earns whose answer is right or wrong and whose confidence is c; channels that depend on neither are 0.
double Earns(const ChannelExpression& expression, bool right, double c) {
  ChannelInputs in;
  in.format_ok = in.wants_confidence = true;
  in.label = in.answer_label = right ? Label::kCorrect : Label::kWrong;
  in.soft_label = right ? 1.0 : 0.0;
  in.confidence = Confidence::From(c);
  std::map<std::string, double> channels = ComputeChannels(in);
  AddWantedChannels(in, {expression.names().begin(), expression.names().end()}, channels);
  for (const std::string& name : expression.names()) channels.emplace(name, 0.0);
  return expression.Evaluate(channels).value_or(0.0);
}

struct Report {
  double honest, best;
};
// A probability at which some other report than the honest one earns most; the worst of a few.
std::optional<Report> DishonestOptimum(const ChannelExpression& expression) {
  std::optional<Report> worst;
  for (int k = 1; k < 10; ++k) {
    const double p = k / 10.0;
    double best = 0.0, most = -INFINITY;
    for (int i = 0; i <= 100; ++i) {
      const double c = i / 100.0, earned = p * Earns(expression, true, c) + (1.0 - p) * Earns(expression, false, c);
      if (earned > most + 1e-12) most = earned, best = c;
    }
    const double off = std::abs(best - p);
    if (off > 0.02 && (!worst || off > std::abs(worst->best - worst->honest))) worst = Report{p, best};
  }
  return worst;
}

void LintStated(const ObjectiveOptions& o, const ChannelExpression& expression, std::vector<Finding>& findings) {
  if (o.segment == "slot" || !IsOneOf("confidence", expression.names())) return;
  if (const auto report = DishonestOptimum(expression))
    findings.push_back(
        {"improper_confidence", true, false,
         fmt::format("`{}` pays most for a confidence of {:.2f} where the answer is right with probability {:.1f}", o.channel, report->best,
                     report->honest),
         "only a proper scoring rule is best answered with the truth; anything linear in the confidence is best answered with "
         "0 or 1",
         "brier or spherical in place of the confidence itself"});
}

void LintCertainty(const Recipe& r, const ObjectiveOptions& o, const ChannelExpression& expression, std::vector<Finding>& findings) {
  const auto& names = expression.names();
  const auto own = std::find_if(names.begin(), names.end(), [](const auto& name) { return IsOneOf(name, PolicyChannels()); });
  if (own == names.end()) return;
  if (o.segment == "slot")
    findings.push_back({"certainty_feeds_calibration", true, false,
                        fmt::format("the slot is regressed on `{}`, the policy's own view", *own),
                        "how sure a policy is of its words is no label: the confidence would be calibrated to itself",
                        "channel = \"accuracy\" with a verifier, or no slot objective"});
  else
    findings.push_back({"certainty_is_no_truth", false, false, fmt::format("`{}` pays for the policy's own view of its answer", *own),
                        "it rises for wrong answers as well, and every confidence that is read from token probabilities rises with it",
                        "watch accuracy and ECE on a labelled [[eval]], and read the confidence from a slot that labels train"});
  const std::string& filter = r.reward.filter;
  if (o.segment != "slot" && expression.NeedsNoLabel() && o.loss == "policy_gradient" &&
      (filter == "accuracy" || filter == "mid_band" || filter == "vcrl"))
    findings.push_back({"filter_reads_labels", false, false,
                        fmt::format("reward.filter = \"{}\" drops groups by labels that `{}` does not look at", filter, o.channel),
                        "groups that are all right or all wrong still differ in it", "reward.filter = \"none\""});
}

// What the expression gains when the stored baseline goes from 0 to 1, where that does not depend on anything else; 0 otherwise.
double AddedByBaseline(const ChannelExpression& expression) {
  std::optional<double> added;
  for (double others : {0.0, 0.5, 1.0}) {
    std::map<std::string, double> channels;
    for (const std::string& name : expression.names()) channels[name] = others;
    channels["baseline"] = 0.0;
    const double without = expression.Evaluate(channels).value_or(0.0);
    channels["baseline"] = 1.0;
    const double now = expression.Evaluate(channels).value_or(0.0) - without;
    if (added && std::abs(*added - now) > 1e-12) return 0.0;
    added = now;
  }
  return added.value_or(0.0);
}

void LintBaseline(const ObjectiveOptions& o, const ChannelExpression& expression, std::vector<Finding>& findings) {
  const bool contrast = IsOneOf("contrast", expression.names());
  if (o.loss != "policy_gradient" || !(contrast || (IsOneOf("baseline", expression.names()) && AddedByBaseline(expression) != 0.0))) return;
  const char* channel = contrast ? "contrast" : "baseline";
  if (o.advantage == "contrastive_baseline")
    findings.push_back(
        {"baseline_subtracted_twice", true, false,
         fmt::format("advantage = \"contrastive_baseline\" subtracts the stored baseline from `{}`, which holds it already", o.channel),
         "the stored scores are one number per prompt; twice of it is no baseline", "channel = \"accuracy\", or advantage = \"none\""});
  else if (o.advantage != "none")
    findings.push_back({"contrast_cancels", true, false,
                        fmt::format("advantage = \"{}\" subtracts the prompt's mean from the channel {}", o.advantage, channel),
                        "the stored baseline is one number per prompt, which a mean over the prompt's traces removes again",
                        "advantage = \"contrastive_baseline\" on the reward itself, or advantage = \"none\""});
}

// What dro_over_base subtracts is the same for every trace of a prompt, whatever its reasoning.
void LintOverBase(const ObjectiveOptions& o, const ChannelExpression& expression, std::vector<Finding>& findings) {
  const std::set<std::string> keeps_level = {"none", "contrastive_baseline"};
  if (o.loss != "policy_gradient" || !IsOneOf("dro_over_base", expression.names()) || keeps_level.contains(o.advantage)) return;
  findings.push_back(
      {"contrast_cancels", true, false,
       fmt::format("advantage = \"{}\" subtracts the prompt's mean from the channel dro_over_base", o.advantage),
       "what stands behind an empty reasoning is one number per prompt, which a mean over the prompt's traces removes again: "
       "this is dro, at the price of one more forward",
       "channel = \"dro\" or \"dro_propagated\", or advantage = \"none\""});
}

void LintSingleTrace(const Recipe& r, const ObjectiveOptions& o, std::vector<Finding>& findings) {
  if (r.trainer.group_size != 1 || o.segment == "slot") return;
  const std::set<std::string> of_the_group = {"group_mean", "leave_one_out", "batch_std", "group_std", "pass_at_k"};
  if (o.loss == "preference" || (o.loss == "policy_gradient" && of_the_group.contains(o.advantage)))
    findings.push_back({"one_trace_has_no_group", true, false,
                        fmt::format("`{}` is compared within its group, and trainer.group_size is 1", o.channel),
                        "a trace less the mean of itself is 0, and a pair needs two: nothing would be learned",
                        "advantage = \"contrastive_baseline\" with stored answers (candor baseline), or a larger group"});
  else if (r.reward.filter != "none")
    findings.push_back({"filter_drops_every_group", true, false,
                        fmt::format("reward.filter = \"{}\" keeps groups that vary, and a group of one never does", r.reward.filter),
                        "every group would be kept out of the policy gradient", "reward.filter = \"none\""});
}

}  // namespace

void LintSignals(const Recipe& recipe, const ObjectiveOptions& objective, std::vector<Finding>& findings) {
  const auto expression = ChannelExpression::Parse(objective.channel);
  if (!expression) return;
  LintStated(objective, *expression, findings);
  LintCertainty(recipe, objective, *expression, findings);
  LintBaseline(objective, *expression, findings);
  LintOverBase(objective, *expression, findings);
  LintSingleTrace(recipe, objective, findings);
}

}  // namespace candor::cli
