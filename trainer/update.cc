#include "trainer/update.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "model/guarded.h"
#include "trainer/exchange.h"
#include "trainer/slice_update.h"

namespace candor {

namespace {

// Norms and biases (one dimension) are never decayed: one call per run of parameters that agree. Whether the new weights are finite.
bool UpdateUnit(const UnitSpec& spec, const UnitShard& shard, const AdamWStep& step, ShardedPolicy::UnitState& state) {
  int64_t begin = shard.begin, end = shard.begin + shard.Valid();
  const at::Tensor low = state.compute.is_same(state.master) ? at::Tensor() : state.compute;
  bool finite = true;
  for (size_t p = 0; p < spec.params.size();) {
    bool decays = spec.params[p].shape.size() > 1;
    int64_t from = spec.params[p].offset, to = from;
    for (; p < spec.params.size() && (spec.params[p].shape.size() > 1) == decays; ++p) to = spec.params[p].offset + spec.params[p].Count();
    from = std::max(from, begin) - begin, to = std::min(to, end) - begin;
    const auto part = [&](const at::Tensor& x) { return x.narrow(0, from, to - from); };
    if (from < to)
      finite &= ApplyAdamW(step, decays, part(state.master), part(state.mean), part(state.square), part(state.gradient),
                           low.defined() ? part(low) : low);
  }
  return finite;
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

// A number per unit: not finite where its master weights are not.
std::vector<double> LookAtMasters(ShardedPolicy& policy) {
  std::vector<at::Tensor> masters;
  for (size_t u = 0; u < policy.units().size(); ++u) masters.push_back(policy.state(u).master);
  return SumsOfSquares(masters);
}

// Whatever happened to the weights, in the update or in a memory that flipped a bit: every rank hears of it before anything is published.
Status CheckMasters(ShardedPolicy& policy, const std::vector<double>& mine) {
  CANDOR_ASSIGN(const auto by_rank, GatherDoubles(policy.collective(), mine));
  for (size_t r = 0; r < by_rank.size(); ++r)
    for (size_t u = 0; u < mine.size(); ++u)
      if (!std::isfinite(by_rank[r][u]))
        return Fail(ErrorCode::kCollective, "the weights of " + policy.units()[u].name + " are not finite on rank " + std::to_string(r),
                    "update " + std::to_string(policy.updates()), "the learner starts again from its newest checkpoint");
  return {};
}

Result<UpdateOutcome> RunUpdate(ShardedPolicy& policy, const AdamOptions& options, double lr, double ema_decay, double loss) {
  const ShardPlan& plan = policy.plan();
  std::vector<double> mine{loss};
  std::vector<at::Tensor> gradients;
  for (size_t u = 0; u < plan.units.size(); ++u) gradients.push_back(policy.state(u).gradient);
  for (double sum : SumsOfSquares(gradients)) mine.push_back(sum);
  CANDOR_ASSIGN(auto by_rank, GatherDoubles(policy.collective(), mine));
  UpdateOutcome outcome;
  double squares = 0.0;
  for (size_t r = 0; r < static_cast<size_t>(plan.slices()); ++r)
    for (size_t u = 0; u < plan.units.size(); ++u) squares += by_rank[r][u + 1];
  outcome.grad_norm = std::sqrt(squares);
  outcome.why = FirstNotFinite(by_rank, policy.units());
  outcome.skipped = !outcome.why.empty();
  if (outcome.skipped) {
    CANDOR_TRY(CheckMasters(policy, LookAtMasters(policy)));
    return outcome;
  }
  outcome.clip_scale = ClipScale(outcome.grad_norm, options.grad_clip);
  policy.BeginChange();
  AdamWStep step = PlanAdamW(options, lr, policy.updates() + 1, outcome.clip_scale);
  std::vector<double> new_masters;
  for (size_t u = 0; u < plan.units.size(); ++u) {
    ShardedPolicy::UnitState& state = policy.state(u);
    const bool finite = UpdateUnit(policy.units()[u], plan.units[u], step, state);
    new_masters.push_back(finite ? 0.0 : std::numeric_limits<double>::quiet_NaN());
    if (policy.has_average()) ApplyAverage(ema_decay, state.average, state.master);
  }
  policy.set_updates(policy.updates() + 1);
  policy.ComputeChanged();
  CANDOR_TRY(CheckMasters(policy, policy.device().is_cpu() ? new_masters : LookAtMasters(policy)));
  return outcome;
}

}  // namespace

Result<UpdateOutcome> ApplyUpdate(ShardedPolicy& policy, const AdamOptions& options, double lr, double ema_decay, double loss) {
  return Guarded("the optimizer step", "if memory ran out, use more ranks with sharding = \"zero3\"",
                 [&] { return RunUpdate(policy, options, lr, ema_decay, loss); });
}

}  // namespace candor
