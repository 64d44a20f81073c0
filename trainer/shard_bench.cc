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

int64_t BoundBytes(const ShardedPolicy& policy, int ranks) {
  const int64_t compute = policy.dtype() == DType::kBf16 ? 2 : 4;
  int64_t total = 0, largest = 0, second = 0;
  for (const UnitSpec& unit : policy.units()) {
    const int64_t count = unit.Count();
    total += count;
    if (count > largest)
      second = largest, largest = count;
    else
      second = std::max(second, count);
  }
  // fp32 masters, two moments and the accumulated gradient; the compute copy where it is not the master itself.
  const int64_t per_element = 16 + (policy.dtype() == DType::kBf16 ? 2 : 0);
  return static_cast<int64_t>(1.15 * static_cast<double>(total * per_element) / ranks) + compute * (largest + second) + 4 * largest;
}

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

Result<ShardBenchResult> ShardBench(const std::string& model_folder, const ShardBenchOptions& o, Collective& collective) {
  at::set_num_threads(static_cast<int>(o.threads));
  CANDOR_ASSIGN(const ModelConfig config, ReadModelConfig(model_folder));
  CANDOR_ASSIGN(const Placement placement, PlaceLearner(o.device, o.dtype, false, collective));
  CANDOR_ASSIGN(const Sharding sharding, ParseSharding(o.sharding));
  CANDOR_ASSIGN(const std::unique_ptr<ShardedPolicy> made, MakePolicy(config, sharding, false, placement, collective));
  ShardedPolicy& policy = *made;
  CANDOR_TRY(policy.LoadFolder(model_folder));

  TrainerOptions trainer;
  trainer.schedule.lr = o.lr, trainer.steps = o.steps;
  trainer.tokens_per_microbatch = 2 * (o.prompt_tokens + o.answers * o.answer_tokens) + 1;  // two groups: several micro-batches a step
  CANDOR_ASSIGN(const RlSettings settings, CheckRlSettings(trainer, {ObjectiveOptions{}}, std::nullopt, false));
  RlStepper stepper(settings, policy);
  std::vector<double> seconds;
  for (int64_t step = 1; step <= o.steps; ++step) {
    std::vector<ScoredGroup> mine;
    for (int64_t g = collective.rank(); g < o.groups; g += collective.size())
      mine.push_back(
          SyntheticGroup({o.prompt_tokens, o.answers, o.answer_tokens}, config.vocab_size, static_cast<uint64_t>(step * o.groups + g)));
    const double start = SteadySeconds();
    CANDOR_ASSIGN(const StepResult done, stepper.Run(step, mine));
    if (done.skipped) return Fail(ErrorCode::kInternal, "a step of the bench was skipped: " + done.why);
    if (step > 1 || o.steps == 1) seconds.push_back(SteadySeconds() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  ShardBenchResult result;
  result.step_seconds = seconds.empty() ? 0.0 : seconds[seconds.size() / 2];
  const MemoryUse& memory = policy.memory();
  result.owned_bytes = memory.owned_bytes, result.gathered_bytes_peak = memory.gathered_bytes_peak;
  result.gathered_units_peak = memory.gathered_units_peak, result.gradient_bytes_peak = memory.gradient_bytes_peak;
  result.bound_bytes = BoundBytes(policy, collective.size());
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
