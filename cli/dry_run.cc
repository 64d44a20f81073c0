#include "cli/dry_run.h"

#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/progress.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

// Parameters of a policy from its weights' files: exact for bf16 and close enough for a plan.
Result<double> ParameterCount(const std::string& model) {
  double bytes = 0;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(model, error))
    if (entry.path().extension() == ".safetensors") bytes += static_cast<double>(entry.file_size());
  if (error || bytes == 0)
    return Fail(ErrorCode::kNotFound, "there are no weights", model, "run the recipe once, or its [prepare] command, to make the model");
  CANDOR_ASSIGN(std::string text, ReadFile(model + "/config.json"));
  nlohmann::json config = nlohmann::json::parse(text, nullptr, false);
  const auto says_float32 = [&](const char* key) { return config.is_object() && config.contains(key) && config[key] == "float32"; };
  const bool wide = says_float32("torch_dtype") || says_float32("dtype");
  return bytes / (wide ? 4 : 2);
}

std::string Megabytes(double bytes) { return fmt::format("{:.0f} MB", bytes / 1e6); }

void PrintMemory(const Recipe& r, double parameters) {
  const double compute = r.run.dtype == "fp32" ? 4 : 2;
  const double ranks = static_cast<double>(r.trainer.ranks);
  const double shared = r.trainer.sharding == "none" ? 1 : ranks;
  // fp32 master weights, two moments and, when asked for, the average, split by the sharding; the compute copy and fp32 gradients.
  const double optimizer = parameters * (12 + (r.trainer.ema_decay > 0 ? 4 : 0)) / shared;
  const double weights = parameters * compute / (r.trainer.sharding == "zero3" ? ranks : 1);
  const double gradients = parameters * 4 / (r.trainer.sharding == "none" ? 1 : ranks);
  std::printf("\nMemory (beside the programs themselves, about 300 MB each with LibTorch)\n");
  std::printf(
      "  rollout   x %-3ld %9s weights (three times while a version is swapped: the old, the fetched, the new) + up to %ld MB key-value "
      "cache\n",
      static_cast<long>(r.rollout.workers), Megabytes(parameters * compute).c_str(), static_cast<long>(r.rollout.engine.kv_memory_mb));
  std::printf("  trainer   x %-3ld %9s weights, %s optimizer, %s gradients (sharding %s) + activations of %ld tokens\n",
              static_cast<long>(r.trainer.ranks), Megabytes(weights).c_str(), Megabytes(optimizer).c_str(), Megabytes(gradients).c_str(),
              r.trainer.sharding.c_str(), static_cast<long>(r.trainer.tokens_per_microbatch));
  std::printf("  reward    x %-3ld  coordinator x 1: under 100 MB each\n", static_cast<long>(r.reward.workers));
}

double StepSeconds(const Recipe& r, double parameters) {
  const double traces = static_cast<double>(r.trainer.prompts_per_step * (r.trainer.group_size + r.rollout.greedy_traces));
  const double sampled = traces * static_cast<double>(r.rollout.sampling.max_new_tokens);
  const double prompts = static_cast<double>(r.trainer.prompts_per_step) * 60;
  const double learn_flop = 6 * parameters * (sampled + prompts), write_flop = 2 * parameters * (sampled + prompts);
  const double rate = 5e11;  // products per second of two cores that are fast in bf16, as a step of the main job was measured
  return (learn_flop + write_flop) / rate;
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
      text += fmt::format("  {}. `{}` teaches {} by policy gradient ({}, advantage {}, weight {}).\n", i + 1, o.channel, tokens,
                          r.trainer.loss, o.advantage, weight);
  }
  return text;
}

Result<double> EstimateRlSeconds(const Recipe& r) {
  CANDOR_ASSIGN(const double parameters, ParameterCount(r.run.model));
  return StepSeconds(r, parameters) * static_cast<double>(r.trainer.steps);
}

int PrintDryRun(Recipe& recipe) {
  std::printf("# The resolved recipe: every key with its value\n%s\n", ResolvedText(recipe).c_str());
  std::printf("Stages: %s\n", fmt::format("{}", fmt::join(recipe.run.stages, " -> ")).c_str());
  std::printf("\nObjectives\n%s", ExplainObjectives(recipe).c_str());
  auto parameters = ParameterCount(recipe.run.model);
  if (!parameters) {
    std::printf("\nMemory and time: unknown until the model is there: %s\n", parameters.error().Message().c_str());
    return 0;
  }
  PrintMemory(recipe, *parameters);
  PrintTime(recipe, *parameters);
  return 0;
}

}  // namespace candor::cli
