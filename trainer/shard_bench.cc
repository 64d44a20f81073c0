#include "trainer/shard_bench.h"

#include <algorithm>
#include <cmath>

#include "core/check.h"
#include "core/clock.h"
#include "trainer/bench_groups.h"
#include "trainer/policy_start.h"
#include "trainer/rl_step.h"

namespace candor {

namespace {

Result<std::vector<float>> Masters(ShardedPolicy& policy) {
  std::vector<float> all;
  for (size_t u = 0; u < policy.units().size(); ++u) {
    CANDOR_ASSIGN(const at::Tensor unit, policy.WholeUnit(u, ShardedPolicy::Which::kMaster));
    const at::Tensor whole = unit.cpu();
    const float* data = whole.const_data_ptr<float>();
    if (policy.collective().rank() == 0) all.insert(all.end(), data, data + policy.units()[u].Count());
  }
  return all;
}

}  // namespace

namespace {

std::vector<ScoredGroup> GroupsOf(const ShardBenchOptions& o, const Collective& collective, int64_t vocab_size, int64_t step) {
  std::vector<ScoredGroup> mine;
  for (int64_t g = collective.rank(); g < o.groups; g += collective.size())
    mine.push_back(
        SyntheticGroup({o.prompt_tokens, o.answers, o.answer_tokens, 0}, vocab_size, static_cast<uint64_t>(step * o.groups + g)));
  return mine;
}

Result<RlSettings> Settings(const ShardBenchOptions& o) {
  TrainerOptions trainer;
  trainer.schedule.lr = o.lr, trainer.steps = o.steps;
  trainer.tokens_per_microbatch = o.groups_per_microbatch * (o.prompt_tokens + o.answers * o.answer_tokens) + 1;
  return CheckRlSettings(trainer, {ObjectiveOptions{}}, std::nullopt, false);
}

}  // namespace

Result<ShardBenchResult> ShardBench(const std::string& model_folder, const ShardBenchOptions& o, Collective& given) {
  at::set_num_threads(static_cast<int>(o.threads));
  DelayedCollective slower(given, o.link);
  DelayedCollective* link = &slower;  // what carries the tensors
  Collective& collective = o.link.Slower() ? slower : given;
  CANDOR_ASSIGN(const ModelConfig config, ReadModelConfig(model_folder));
  CANDOR_ASSIGN(Placement placement, PlaceLearner(o.device, o.dtype, false, collective));
  if (placement.tensors && o.link.Slower()) {
    auto device_link = std::make_unique<DelayedCollective>(std::move(placement.tensors), o.link);
    link = device_link.get();
    placement.tensors = std::move(device_link);
  }
  CANDOR_ASSIGN(const Sharding sharding, ParseSharding(o.sharding));
  CANDOR_ASSIGN(const std::unique_ptr<ShardedPolicy> made, MakePolicy(config, sharding, false, placement, collective));
  ShardedPolicy& policy = *made;
  CANDOR_TRY(policy.LoadFolder(model_folder));

  CANDOR_ASSIGN(const RlSettings settings, Settings(o));
  RlStepper stepper(settings, policy);
  std::vector<double> seconds;
  for (int64_t step = 1; step <= o.steps; ++step) {
    const std::vector<ScoredGroup> mine = GroupsOf(o, collective, config.vocab_size, step);
    if (step == 2) link->ResetTimes(), seconds.clear();  // the first step is warm-up
    const double start = SteadySeconds();
    CANDOR_ASSIGN(const StepResult done, stepper.Run(step, mine));
    if (done.skipped) return Fail(ErrorCode::kInternal, "a step of the bench was skipped: " + done.why);
    seconds.push_back(SteadySeconds() - start);
  }
  ShardBenchResult result;
  result.communication = link->times().Per(static_cast<double>(seconds.size()));
  std::sort(seconds.begin(), seconds.end());
  result.step_seconds = seconds[seconds.size() / 2];
  const MemoryUse& memory = policy.memory();
  result.owned_bytes = memory.owned_bytes, result.gathered_bytes_peak = memory.gathered_bytes_peak;
  result.gathered_units_peak = memory.gathered_units_peak, result.gradient_bytes_peak = memory.gradient_bytes_peak;
  result.bound_bytes = policy.MemoryBound();
  CANDOR_ASSIGN(result.masters, Masters(policy));
  return result;
}

double RelativeDistance(const std::vector<float>& a, const std::vector<float>& b) {
  CANDOR_CHECK(a.size() == b.size(), "vectors of one length");
  double difference = 0.0, norm = 0.0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double x = a[i], y = b[i];
    difference += (x - y) * (x - y), norm += y * y;
  }
  return std::sqrt(difference / norm);
}

}  // namespace candor
