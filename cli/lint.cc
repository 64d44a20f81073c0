#include "cli/lint.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>

#include "cli/lint_signals.h"
#include "core/channel_expression.h"
#include "core/weight_schedule.h"
#include "reward/channels.h"

namespace candor::cli {

namespace {

// Scoring rules among the channels, with sup over p of loss(p, correct) - loss(p, wrong): how much a report of confidence 0 on a surely
// wrong answer can gain over an honest one (docs/theory.md).
struct ScoringRule {
  const char* channel;
  double spread;
};
const double kLogSpread = std::log((1 - kLogRewardClip) / kLogRewardClip);
const ScoringRule kRules[] = {{"brier", 1.0},           {"soft_brier", 1.0},     {"denoised_brier", 1.0},
                              {"spherical", 1.0},       {"soft_spherical", 1.0}, {"log", kLogSpread},
                              {"soft_log", kLogSpread}, {"hybrid_brier", 1.0},   {"hybrid_gap", 1.0}};

struct Weights {
  double accuracy = 0, calibration = 0, spread = 0;  // spread: sum of calibration weight times the rule's spread
};

// How much a channel weighs in an expression: what it adds when it goes from 0 to 1 with all others at 0. Of a product, with the others
// at 1.
double WeightOf(const ChannelExpression& expression, const std::string& channel) {
  double weight = 0.0;
  for (const double others : {0.0, 1.0}) {
    std::map<std::string, double> values;
    for (const std::string& name : expression.names()) values[name] = others;
    if (!values.count(channel)) return 0.0;
    values[channel] = 0.0;
    const double without = expression.Evaluate(values).value_or(0.0);
    values[channel] = 1.0;
    weight = expression.Evaluate(values).value_or(0.0) - without;
    if (weight != 0.0) break;
  }
  return weight;
}

bool Reads(const ObjectiveOptions& o, const std::string& channel) {
  const auto expression = ChannelExpression::Parse(o.channel);
  return expression && std::find(expression->names().begin(), expression->names().end(), channel) != expression->names().end();
}

// What accuracy and the scoring rules weigh in one policy-gradient objective, before its own weight.
Weights UnitWeightsOf(const Recipe& r, const ObjectiveOptions& objective) {
  auto expression = ChannelExpression::Parse(objective.channel);
  if (!expression) return {};
  Weights w;
  for (const char* channel : {"accuracy", "soft", "ungated_accuracy", "majority", "contrast", "denoised"})
    w.accuracy += WeightOf(*expression, channel);
  w.accuracy += WeightOf(*expression, "thresholded") / (1.0 - r.reward.answer_threshold);  // from -t/(1 - t) to 1
  for (const ScoringRule& rule : kRules) {
    const double weight = WeightOf(*expression, rule.channel);
    w.calibration += weight, w.spread += weight * rule.spread;
  }
  return w;
}

bool ReachesAnswer(const ObjectiveOptions& o) {
  return o.loss == "policy_gradient" && (o.segment == "all" || o.segment == "answer" || o.segment == "reasoning");
}
bool HasSchedule(const Recipe& r) {
  return std::any_of(r.objectives.begin(), r.objectives.end(), [](const ObjectiveOptions& o) { return o.weight_schedule != "constant"; });
}
WeightSchedule ScheduleOf(const Recipe& r, const ObjectiveOptions& o) { return WeightScheduleOf(o, r.trainer.steps); }
// Over the whole run: a ramp is largest at one of its ends.
double LargestWeight(const Recipe& r, const ObjectiveOptions& o) {
  const WeightSchedule schedule = ScheduleOf(r, o);
  return std::max(schedule.MostAt(0), schedule.MostAt(r.trainer.steps - 1));
}

// The objectives that reach the answer; their advantages add up on its tokens.
class AnswerWeights {
 public:
  explicit AnswerWeights(const Recipe& r) : steps_(std::max<int64_t>(r.trainer.steps, 1)) {
    for (const ObjectiveOptions& o : r.objectives)
      if (ReachesAnswer(o)) parts_.push_back({UnitWeightsOf(r, o), ScheduleOf(r, o)});
  }
  int64_t steps() const { return steps_; }
  // At this step (from 1). Of a weight that follows what is measured, the one that is worst for accuracy.
  Weights At(int64_t step) const {
    Weights total;
    for (const auto& [unit, schedule] : parts_) {
      const double weight = unit.spread > unit.accuracy ? schedule.MostAt(step - 1) : schedule.LeastAt(step - 1);
      total.accuracy += weight * unit.accuracy, total.calibration += weight * unit.calibration, total.spread += weight * unit.spread;
    }
    return total;
  }
  // As At, with the largest weights: what the objectives lead to, not what may go wrong.
  Weights MostAt(int64_t step) const {
    Weights total;
    for (const auto& [unit, schedule] : parts_) {
      const double weight = schedule.MostAt(step - 1);
      total.accuracy += weight * unit.accuracy, total.calibration += weight * unit.calibration, total.spread += weight * unit.spread;
    }
    return total;
  }
  // The first step at which a surely wrong answer may earn more than a right one.
  std::optional<int64_t> FirstBreach() const {
    for (int64_t step = 1; step <= steps_; ++step)
      if (const Weights w = At(step); w.spread > w.accuracy + 1e-9) return step;
    return std::nullopt;
  }

 private:
  int64_t steps_;
  std::vector<std::pair<Weights, WeightSchedule>> parts_;
};
bool DividesByStd(const ObjectiveOptions& o) { return o.advantage == "group_std" || o.advantage == "batch_std"; }

Finding Outweighs(const Recipe& r, const AnswerWeights& answer, int64_t step) {
  const Weights total = answer.At(step);
  const std::string when = HasSchedule(r) ? fmt::format("at step {} of {}, ", step, answer.steps()) : "";
  return {
      "calibration_outweighs_accuracy",
      true,
      false,
      fmt::format("{}on tokens of the answer the scoring rule may pay {:g} for a surely wrong answer with confidence 0, accuracy {:g} for "
                  "a right one",
                  when, total.spread, total.accuracy),
      "V(p) = w_acc p - w_cal L(p), what an honest answer earns that is right with probability p, rises everywhere only if "
      "w_cal (loss(p, correct) - loss(p, wrong)) <= w_acc for all p (brier and spherical: w_cal <= w_acc; log, clipped: 6.9 w_cal)",
      HasSchedule(r) ? "lower the calibration weight (weight_to, weight_max), keep accuracy's up, or let it reach only tokens after the "
                       "answer (segment = \"confidence\" or the slot)"
                     : "lower the calibration weight, take brier, or let it reach only tokens after the answer (segment = "
                       "\"confidence\" or the slot)"};
}

void LintPolicyGradient(const Recipe& r, const ObjectiveOptions& o, const AnswerWeights& answer, std::optional<int64_t> breach,
                        std::vector<Finding>& findings) {
  const Weights own = UnitWeightsOf(r, o);
  if (own.calibration <= 0 || LargestWeight(r, o) <= 0) return;
  if (ReachesAnswer(o) && breach) findings.push_back(Outweighs(r, answer, *breach));
  if (o.advantage == "group_std")
    findings.push_back({"group_std_of_scoring_rule", true, false,
                        fmt::format("`{}` is divided by its group's standard deviation", o.channel),
                        "the standard deviation depends on the labels, so that the rule is no longer proper: confidences are pushed to the "
                        "extremes (p = .7 becomes .79, .9 becomes 1.0)",
                        "use advantage = \"group_mean\", or batch_std, which divides everything by one number"});
  if (o.discrepancy > 0)
    findings.push_back(
        {"discrepancy_of_scoring_rule", true, false, fmt::format("`{}` is weighed by how far the confidence was from the label", o.channel),
         "the factor depends on the label, so that the rule is no longer proper: reports are drawn towards 1/2 (where p = .7, .65 earns "
         "more than .70 with kappa = .25)",
         "discrepancy = 0 here; it is meant for accuracy in an objective of its own"});
  if (ReachesAnswer(o) && own.accuracy == 0 && DividesByStd(o))
    findings.push_back({"weights_not_comparable", false, false,
                        fmt::format("`{}` is divided by its own standard deviation, accuracy by another", o.channel),
                        "the effective weights are w/std, and the deviations move during training: the condition on the weights cannot be "
                        "checked beforehand",
                        "advantage = \"group_mean\" for both, or segment = \"confidence\" for this one"});
  if (r.reward.filter == "reward")
    findings.push_back({"filter_on_total_reward", false, false, fmt::format("reward.filter = \"reward\" looks at `{}`", o.channel),
                        "a confidence makes every trace's reward another one, so that it never drops a group, not even those whose answers "
                        "are all right or all wrong",
                        "reward.filter = \"none\", or \"accuracy\" with the confidence in a slot"});
  else if (r.reward.filter != "none")
    findings.push_back({"filter_drops_calibration", true, false,
                        fmt::format("groups that reward.filter = \"{}\" drops do not teach `{}`", r.reward.filter, o.channel),
                        "kept groups have pass rates in [1/G, 1 - 1/G] only (p = .9 is seen as .824 at G = 8), and no weight can undo a "
                        "selection by outcomes",
                        "reward.filter = \"none\", or train the confidence on the slot, which filtered groups still teach"});
}

// What holds the policy to a reference holds back the numbers that it writes as well.
void LintDistance(const Recipe& r, std::vector<Finding>& findings) {
  if (r.trainer.correction.kl_weight <= 0 || r.format.confidence != "verbal") return;
  for (const ObjectiveOptions& o : r.objectives)
    if (o.loss == "policy_gradient" && (o.segment == "all" || o.segment == "confidence") && LargestWeight(r, o) > 0) {
      findings.push_back({"kl_on_confidence", false, false,
                          fmt::format("trainer.kl_weight = {:g} reaches the confidence tokens that `{}` teaches",
                                      r.trainer.correction.kl_weight, o.channel),
                          "the best number is then a mixture of the truth and of what the reference policy would have stated, which was "
                          "never calibrated: confidences stay near the few values that it likes",
                          "trainer.kl_weight = 0, or format.confidence = \"slot\", which the distance does not reach"});
      return;
    }
}

// Prompts chosen by what they gave before.
void LintCurriculum(const Recipe& r, std::vector<Finding>& findings) {
  const CurriculumOptions& c = r.curriculum;
  const bool slot = std::any_of(r.objectives.begin(), r.objectives.end(), [](const ObjectiveOptions& o) { return o.segment == "slot"; });
  const bool stated = std::any_of(r.objectives.begin(), r.objectives.end(), [&](const ObjectiveOptions& o) {
    return o.loss == "policy_gradient" && LargestWeight(r, o) * UnitWeightsOf(r, o).calibration > 0;
  });
  if (stated && c.retire_at > 0)
    findings.push_back({"retirement_drops_calibration", true, false,
                        fmt::format("prompts with a pass rate of {:g} and more no longer teach the stated confidence", c.retire_at),
                        "they are chosen by their outcomes: nothing near p = 1 is seen, and no weight can undo that",
                        "curriculum.retire_at = 0, or train the confidence on the slot, which a share of the retired goes on teaching"});
  if (stated && c.skip != "none")
    findings.push_back({"skips_not_weighted", false, false, "prompts that are passed over teach the stated confidence less often",
                        "the weight 1 / P(kept) that makes up for a random skip is that of the slot's loss; a policy gradient has none",
                        "train the confidence on the slot, or curriculum.skip = \"none\""});
  if (slot && c.retire_at > 0 && c.retired_share == 0)
    findings.push_back({"no_easy_targets", false, false, "retired prompts do not train the slot any more",
                        "the slot then sees no prompt near p = 1 and grows too careful on them",
                        "curriculum.retired_share = 0.1 (they train the slot alone)"});
}

// A stated confidence whose target is in part the group's mean.
void LintHybrid(const Recipe& r, const ObjectiveOptions& o, std::vector<Finding>& findings) {
  const bool gap = Reads(o, "hybrid_gap"), brier = Reads(o, "hybrid_brier");
  const double share = r.reward.hybrid_group_share;
  if (gap)
    findings.push_back(
        {"distance_is_no_rule", true, false, fmt::format("`{}` pays for the distance |c - t| itself", o.channel),
         "it is least at the target's median, not at its mean: where 30 % of the answers are right and half of the target is "
         "the group's mean, .15 earns more than .30",
         "hybrid_brier, the squared distance, as DCPO's code has it"});
  if ((gap || brier) && share > 0)
    findings.push_back({"hybrid_target", false, false,
                        fmt::format("the stated confidence's target is {:g} of the label and {:g} of the group's mean", 1 - share, share),
                        "the mean of sampled answers is not the accuracy of the greedy one, nor of this answer: two answers to one "
                        "question are stated with confidences that are drawn towards each other",
                        "reward.hybrid_group_share = 0, or the channel brier, which gives P(correct | prompt, answer)"});
}

// Channels that are used against their purpose.
void LintChannels(const ObjectiveOptions& o, std::vector<Finding>& findings) {
  if (o.segment == "slot" && (Reads(o, "majority") || Reads(o, "majority_true")))
    findings.push_back({"majority_labels_feed_calibration", true, false, "the slot is regressed on majority votes",
                        "a vote is no truth: the confidence would be calibrated to how often the policy agrees with itself",
                        "channel = \"accuracy\" with a verifier, or no slot objective"});
  if (Reads(o, "tiar") && o.advantage != "none")
    findings.push_back({"tiar_is_normalised", false, false, fmt::format("the bonus tiar goes through advantage = \"{}\"", o.advantage),
                        "as published it is added after normalisation; as a reward it shifts every trace's mean and deviation",
                        "advantage = \"none\" in an objective of its own"});
  if (Reads(o, "log") && o.segment == "confidence")
    findings.push_back({"log_score", false, false, "the log score teaches the confidence tokens",
                        "proper, but one surely wrong report outweighs thousands of others", "brier or spherical"});
}

// Whose labels count, where that is somebody who can be wrong: a verifier behind a URL, or a judge.
std::vector<std::string> FallibleLabels(const Recipe& r) {
  std::vector<std::string> names;
  const std::string& main = r.reward.verifier;
  for (const VerifierOptions& v : r.reward.verifiers)
    if ((v.name == main || main.empty()) && (v.kind == "http" || !v.url.empty())) names.push_back(v.name);
  for (const JudgeOptions& judge : r.reward.judges)
    if (judge.name == main) names.push_back(judge.name);
  return names;
}

void LintJudges(const Recipe& r, std::vector<Finding>& findings) {
  const bool measured = r.reward.label_noise > 0 || r.reward.label_false_positive > 0 || r.reward.label_false_negative > 0;
  constexpr const char* kWhy =
      "a judge that calls a share a of wrong answers correct and a share b of correct ones wrong confines the best confidence to [a, 1 - "
      "b]";
  for (const std::string& name : FallibleLabels(r)) {
    if (!measured)
      findings.push_back({"judge_noise", false, false, fmt::format("the labels of {} are taken as the truth", name), kWhy,
                          "measure both on a gold set (`candor judge test --write noise.toml`) and train on the channels denoised and "
                          "denoised_brier, or read (c - a)/(1 - a - b)"});
    for (const ObjectiveOptions& o : r.objectives)
      if (measured && (Reads(o, "brier") || (o.segment == "slot" && Reads(o, "accuracy"))))
        findings.push_back({"judge_noise", false, false, fmt::format("`{}` still takes the labels of {} as the truth", o.channel, name),
                            kWhy,
                            o.segment == "slot" ? "read (c - a)/(1 - a - b) from this slot: its target cannot leave [0, 1]"
                                                : "channel = \"denoised_brier\""});
  }
  for (const JudgeOptions& judge : r.reward.judges)
    for (const ObjectiveOptions& o : r.objectives)
      if (o.segment == "slot" && Reads(o, judge.name))
        findings.push_back({"judge_noise", false, false, fmt::format("the slot is regressed on what {} thinks", judge.name),
                            "the confidence becomes the judge's mean opinion, with its errors and its own miscalibration, not the "
                            "probability of being right",
                            "channel = \"accuracy\" with a verifier of the truth; `candor judge test` measures how far the judge is off"});
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
  const AnswerWeights answer(recipe);
  const std::optional<int64_t> breach = answer.FirstBreach();
  for (const ObjectiveOptions& o : recipe.objectives) {
    if (o.loss == "policy_gradient") LintPolicyGradient(recipe, o, answer, breach, findings);
    LintSlot(recipe, o, findings);
    LintChannels(o, findings);
    LintHybrid(recipe, o, findings);
    LintSignals(recipe, o, findings);
  }
  LintCurriculum(recipe, findings);
  LintDistance(recipe, findings);
  LintJudges(recipe, findings);
  for (Finding& finding : findings)
    finding.allowed = std::find(recipe.run.allow.begin(), recipe.run.allow.end(), finding.name) != recipe.run.allow.end();
  return findings;
}

std::string ExplainOptimum(const Recipe& recipe) {
  const AnswerWeights answer(recipe);
  const bool stated = std::any_of(recipe.objectives.begin(), recipe.objectives.end(), [&](const ObjectiveOptions& o) {
    return o.loss == "policy_gradient" && LargestWeight(recipe, o) * UnitWeightsOf(recipe, o).calibration > 0;
  });
  const Weights first = answer.MostAt(1), last = answer.MostAt(answer.steps());
  std::string text = last.accuracy > 0 ? "Optimum of the answer: the one that is most probably right" : "Nothing rewards right answers";
  if (first.calibration > 0 || last.calibration > 0)
    text += fmt::format("; an honest answer that is right with probability p earns {:g} p + {:g} times the scoring rule's best at p",
                        first.accuracy, first.calibration);
  if (first.calibration != last.calibration || first.accuracy != last.accuracy)
    text += fmt::format(" at the first step, {:g} p + {:g} times it at the last", last.accuracy, last.calibration);
  text += ".\n";
  if (recipe.format.confidence == "verbal")
    text += stated ? "Optimum of the stated confidence: the probability that this answer is right.\n"
                   : "No reward depends on the stated confidence: it drifts without direction.\n";
  return text;
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
