#include "coordinator/run_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "core/rng.h"

namespace candor {

Status CheckRunPlan(const RunPlan& plan) {
  auto bad = [](std::string what, std::string fix) { return Fail(ErrorCode::kInvalidInput, std::move(what), "run plan", std::move(fix)); };
  if (!(0 < plan.steps && plan.steps < kMaxVersions)) return bad(fmt::format("{} steps", plan.steps), "give between 1 and 16 million");
  if (!(0 < plan.prompts_per_step && plan.prompts_per_step < (1u << 20)))
    return bad(fmt::format("{} prompts per step", plan.prompts_per_step), "give between 1 and a million");
  if (!(0 < plan.group_size && plan.group_size <= 4096 && plan.greedy_traces <= 4096 - plan.group_size))
    return bad(fmt::format("groups of {} + {} traces", plan.group_size, plan.greedy_traces), "give between 1 and 4096 in all");
  if (plan.datasets.empty()) return bad("no data set to train on", "name one under [[data.train]]");
  const CurriculumPlan& c = plan.curriculum;
  if (!(0.0 <= c.retire_at && c.retire_at <= 1.0 && 0.0 <= c.retired_share && c.retired_share <= 1.0))
    return bad(fmt::format("retire_at {} with retired_share {}", c.retire_at, c.retired_share), "give numbers from 0 to 1");
  if (!(0 < c.fill_batches && uint64_t{c.fill_batches} * plan.prompts_per_step < (1u << 20)))
    return bad(fmt::format("{} batches of {} prompts in a step", c.fill_batches, plan.prompts_per_step),
               "give at least 1, and less than a million prompts in all");
  const MovingFilterPlan& m = plan.moving_filter;
  if (!(0.0 <= m.beta && m.beta <= 1e6 && 0.0 <= m.ema && m.ema < 1.0 && 0 < m.average_from && m.average_from < m.from))
    return bad(fmt::format("a moving filter with beta {}, ema {}, from step {} on an average from step {} on", m.beta, m.ema, m.from,
                           m.average_from),
               "give ema below 1, and at least one step of averaging before the first that is filtered");
  if (plan.evals.size() > kMaxEvals) return bad(fmt::format("{} evaluation sets", plan.evals.size()), "at most 128");
  std::set<std::string> names;
  for (const DatasetPlan& dataset : plan.datasets) {
    if (!names.insert(dataset.name).second) return bad("two data sets are named " + dataset.name, "names must differ");
    if (dataset.rows == 0) return bad("the data set " + dataset.name + " has no rows", "check its path");
    if (!(0.0 < dataset.weight && dataset.weight <= 1e6))
      return bad(fmt::format("the data set {} has weight {}", dataset.name, dataset.weight), "give a positive weight");
  }
  for (const EvalPlan& eval : plan.evals) {
    if (!names.insert(eval.name).second)
      return bad("the name " + eval.name + " is taken twice", "names of data sets and evaluations must differ");
    if (eval.rows == 0) return bad("the evaluation set " + eval.name + " has no rows", "check its path");
  }
  return {};
}

bool EvalIsDue(const RunPlan& plan, const EvalPlan& eval, PolicyVersion version) {
  if (version.value == 0 || version.value == plan.steps) return true;
  return eval.every > 0 && version.value % eval.every == 0;
}

PromptRef PromptOrder::At(StepId wave, uint32_t position) { return AtVisit((wave.value - 1) * plan_.prompts_per_step + position); }

PromptRef PromptOrder::AtVisit(uint64_t visit) {
  Extend(visit + 1);
  const Visit& v = schedule_[visit];
  return {plan_.datasets[v.dataset].name, RowOf(v.dataset, v.count)};
}

void PromptOrder::Extend(size_t visits) {
  double total = 0;
  for (const DatasetPlan& d : plan_.datasets) total += d.rows * d.weight;
  while (schedule_.size() < visits) {
    uint32_t next = 0;
    double most_behind = -INFINITY;
    for (uint32_t d = 0; d < plan_.datasets.size(); ++d) {
      double share = plan_.datasets[d].rows * plan_.datasets[d].weight / total;
      double behind = share * static_cast<double>(schedule_.size() + 1) - static_cast<double>(taken_[d]);
      if (behind > most_behind) most_behind = behind, next = d;
    }
    schedule_.push_back({next, taken_[next]++});
  }
}

uint32_t PromptOrder::RowOf(uint32_t dataset, uint64_t count) {
  const uint32_t rows = plan_.datasets[dataset].rows;
  const uint64_t epoch = count / rows;
  auto& [known_epoch, order] = orders_[dataset];
  if (order.empty() || known_epoch != epoch) {
    known_epoch = epoch;
    order.resize(rows);
    EpochOrder(plan_.seed, uint64_t{dataset} << 40 | epoch, rows, order.data());
  }
  return order[count % rows];
}

}  // namespace candor
