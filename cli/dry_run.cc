#include "cli/dry_run.h"

#include <fmt/format.h>

#include <cstdio>

#include "cli/memory_estimate.h"
#include "cli/progress.h"

namespace candor::cli {

namespace {

std::string Size(double bytes) { return bytes >= 1e9 ? fmt::format("{:.1f} GB", bytes / 1e9) : fmt::format("{:.0f} MB", bytes / 1e6); }

// "1.2 GB activations", nothing for what there is none of.
void Append(std::string& parts, double bytes, const std::string& what) {
  if (bytes > 0) parts += (parts.empty() ? "" : ", ") + Size(bytes) + " " + what;
}

void PrintMemory(const Recipe& r, const ModelShape& model) {
  const MemoryEstimate all = EstimateMemory(r, model);
  const TrainerMemory& t = all.trainer;
  std::string trainer, rollout;
  Append(trainer, t.weights, "weights");
  Append(trainer, t.optimizer, "optimizer");
  Append(trainer, t.checkpoint, "copy of it for checkpoints");
  Append(trainer, t.gradients, "gradients");
  Append(trainer, t.last_version, "last published version");
  Append(trainer, t.reference, "reference policy");
  Append(trainer, t.activations, fmt::format("activations of {} tokens", r.trainer.tokens_per_microbatch));
  Append(rollout, all.rollout.weights, "weights while a version is swapped (the old, the fetched, the new)");
  Append(rollout, all.rollout.cache, "key-value cache at most");
  Append(rollout, all.rollout.logits, "logits");
  std::printf("\nMemory (beside the programs themselves, about 300 MB each with LibTorch)\n");
  std::printf("  trainer   x %-3ld %7s each, sharding %s: %s\n", static_cast<long>(r.trainer.ranks), Size(t.Total()).c_str(),
              r.trainer.sharding.c_str(), trainer.c_str());
  std::printf("  rollout   x %-3ld %7s each: %s\n", static_cast<long>(r.rollout.workers), Size(all.rollout.Total()).c_str(),
              rollout.c_str());
  std::printf("  reward    x %-3ld  coordinator x 1: under 100 MB each\n", static_cast<long>(r.reward.workers));
  const auto available = AvailableMemory();
  std::printf("  together on one machine: about %s%s\n", Size(all.on_one_machine).c_str(),
              available ? ("; " + Size(*available) + " are free here").c_str() : "");
  if (const std::string warning = MemoryWarning(r, available); !warning.empty()) std::printf("  warning: %s\n", warning.c_str());
}

double StepSeconds(const Recipe& r, double parameters) {
  const double traces = static_cast<double>(r.trainer.prompts_per_step * (r.trainer.group_size + r.rollout.greedy_traces));
  const double sampled = traces * static_cast<double>(r.rollout.sampling.max_new_tokens);
  const double prompts = static_cast<double>(r.trainer.prompts_per_step) * 60;
  const double learn_flop = 6 * parameters * (sampled + prompts), write_flop = 2 * parameters * (sampled + prompts);
  const double rate = 5e11;     // products per second of two cores that are fast in bf16, as a step of the main job was measured
  const double trace_s = 1e-3;  // writing, moving, grading and recording a trace of any model, as steps of a very small one were measured
  return (learn_flop + write_flop) / rate + traces * trace_s;
}

void PrintTime(const Recipe& r, double parameters) {
  const double step_s = StepSeconds(r, parameters);
  std::printf(
      "\nTime: at most about %s a step, %s for %ld steps of RL, on two cores that are fast in bf16 (answers that end early cost less); "
      "progress "
      "shows the real rate.\n",
      Duration(step_s).c_str(), Duration(step_s * static_cast<double>(r.trainer.steps)).c_str(), static_cast<long>(r.trainer.steps));
}

}  // namespace

namespace {

std::string WeightText(const ObjectiveOptions& o, int64_t run_steps) {
  const WeightSchedule w = WeightScheduleOf(o, run_steps);
  if (w.kind == WeightKind::kRamp) return fmt::format("{} at the first step, {} from step {} on", w.from, w.to, w.over + 1);
  if (w.kind == WeightKind::kMatchStd) return fmt::format("such that it deviates {} times as much as accuracy, at most {}", w.from, w.most);
  return fmt::format("{}", w.from);
}

std::string DiscrepancyText(const ObjectiveOptions& o) {
  if (o.discrepancy == 0) return "";
  return fmt::format(", more where the confidence was further from the label than the group's mean (kappa {}{})", o.discrepancy,
                     o.discrepancy_steps > 0 ? fmt::format(" from step {} on", o.discrepancy_steps + 1) : "");
}

}  // namespace

std::string ExplainObjectives(const Recipe& r) {
  std::string text;
  for (size_t i = 0; i < r.objectives.size(); ++i) {
    const ObjectiveOptions& o = r.objectives[i];
    const std::string weight = WeightText(o, r.trainer.steps);
    const std::string tokens = o.segment == "all"    ? "all tokens the policy writes"
                               : o.segment == "slot" ? "the confidence slot"
                                                     : "the " + o.segment + " tokens";
    if (o.segment == "slot")
      text += fmt::format(
          "  {}. The confidence read from the slot is regressed on `{}` by {} (weight {}), target {}. Optimum: the probability that this "
          "answer is right. No policy gradient "
          "reaches the slot.{}\n",
          i + 1, o.channel, o.loss == "squared_error" ? "squared error (Brier)" : "cross-entropy (log score)", weight,
          o.target == 1 ? "= the trace's own label" : fmt::format("= {} of its label + {} of its group's mean", o.target, 1 - o.target),
          r.rollout.greedy_traces > 0 ? " Greedy answers train it as well." : "");
    else if (o.loss == "preference")
      text += fmt::format(
          "  {}. Of each group, the answer with the highest `{}` is preferred to the one with the lowest, over {} (DPO, beta {}, weight "
          "{}), "
          "against the policy that RL starts from.\n",
          i + 1, o.channel, tokens, o.preference_beta, weight);
    else
      text += fmt::format("  {}. `{}` teaches {} by policy gradient ({}, advantage {}, weight {}){}.\n", i + 1, o.channel, tokens,
                          r.trainer.loss, o.advantage, weight, DiscrepancyText(o));
  }
  return text;
}

Result<double> EstimateRlSeconds(const Recipe& r) {
  CANDOR_ASSIGN(const ModelShape model, ReadModelShape(r.run.model));
  return StepSeconds(r, model.parameters) * static_cast<double>(r.trainer.steps);
}

int PrintDryRun(Recipe& recipe) {
  std::printf("# The resolved recipe: every key with its value\n%s\n", ResolvedText(recipe).c_str());
  std::printf("Stages: %s\n", fmt::format("{}", fmt::join(recipe.run.stages, " -> ")).c_str());
  std::printf("\nObjectives\n%s", ExplainObjectives(recipe).c_str());
  const auto model = ReadModelShape(recipe.run.model);
  if (!model) {
    std::printf("\nMemory and time: unknown until the model is there: %s\n", model.error().Message().c_str());
    return 0;
  }
  PrintMemory(recipe, *model);
  PrintTime(recipe, model->parameters);
  return 0;
}

}  // namespace candor::cli
