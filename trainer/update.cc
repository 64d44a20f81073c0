#include "trainer/update.h"

#include <algorithm>
#include <cmath>

#include "trainer/exchange.h"
#include "trainer/optimizer.h"

namespace candor {

namespace {

std::span<float> Floats(at::Tensor& tensor, int64_t begin, int64_t end) {
  return {tensor.data_ptr<float>() + begin, static_cast<size_t>(end - begin)};
}

// Norms and biases (one dimension) are never decayed: one call per run of parameters that agree.
void UpdateUnit(const UnitSpec& spec, const UnitShard& shard, const AdamWStep& step, ShardedPolicy::UnitState& state) {
  int64_t begin = shard.begin, end = shard.begin + shard.Valid();
  for (size_t p = 0; p < spec.params.size();) {
    bool decays = spec.params[p].shape.size() > 1;
    int64_t from = spec.params[p].offset, to = from;
    for (; p < spec.params.size() && (spec.params[p].shape.size() > 1) == decays; ++p) to = spec.params[p].offset + spec.params[p].Count();
    from = std::max(from, begin) - begin, to = std::min(to, end) - begin;
    if (from < to)
      ApplyAdamW(step, decays, Floats(state.master, from, to), Floats(state.mean, from, to), Floats(state.square, from, to),
                 Floats(state.gradient, from, to));
  }
}

// The first number that is not finite, by name; "" when all are. A loss is its rank's own; gradients are sums over ranks already.
std::string FirstNotFinite(const std::vector<std::vector<double>>& by_rank, const std::vector<UnitSpec>& units) {
  for (size_t r = 0; r < by_rank.size(); ++r)
    if (!std::isfinite(by_rank[r][0])) return "the loss is not finite on rank " + std::to_string(r);
  for (const std::vector<double>& one : by_rank)
    for (size_t u = 0; u < units.size(); ++u)
      if (!std::isfinite(one[u + 1])) return "the gradient of " + units[u].name + " is not finite";
  return "";
}

}  // namespace

Result<UpdateOutcome> ApplyUpdate(ShardedPolicy& policy, const AdamOptions& options, double lr, double ema_decay, double loss) {
  const ShardPlan& plan = policy.plan();
  std::vector<double> mine{loss};
  for (size_t u = 0; u < plan.units.size(); ++u) {
    const at::Tensor& gradient = policy.state(u).gradient;
    mine.push_back(SumOfSquares({gradient.data_ptr<float>(), static_cast<size_t>(gradient.numel())}));
  }
  CANDOR_ASSIGN(auto by_rank, GatherDoubles(policy.collective(), mine));
  UpdateOutcome outcome;
  double squares = 0.0;
  for (size_t r = 0; r < static_cast<size_t>(plan.slices()); ++r)
    for (size_t u = 0; u < plan.units.size(); ++u) squares += by_rank[r][u + 1];
  outcome.grad_norm = std::sqrt(squares);
  outcome.why = FirstNotFinite(by_rank, policy.units());
  outcome.skipped = !outcome.why.empty();
  if (outcome.skipped) return outcome;
  outcome.clip_scale = ClipScale(outcome.grad_norm, options.grad_clip);
  AdamWStep step = PlanAdamW(options, lr, policy.updates() + 1, outcome.clip_scale);
  for (size_t u = 0; u < plan.units.size(); ++u) {
    ShardedPolicy::UnitState& state = policy.state(u);
    UpdateUnit(policy.units()[u], plan.units[u], step, state);
    int64_t n = state.master.numel();
    if (policy.has_average()) ApplyAverage(ema_decay, Floats(state.average, 0, n), Floats(state.master, 0, n));
  }
  policy.set_updates(policy.updates() + 1);
  policy.MastersChanged();
  return outcome;
}

}  // namespace candor
