#include "trainer/bench.h"

#include <algorithm>
#include <functional>

#include "core/clock.h"
#include "trainer/bench_groups.h"
#include "trainer/policy_start.h"
#include "trainer/rl_step.h"
#include "trainer/sft.h"

namespace candor {

namespace {

std::vector<SftExample> Sequences(const LearnBenchOptions& o, int64_t vocab_size) {
  std::vector<SftExample> examples;
  for (int64_t i = 0; i < o.sequences; ++i) {
    std::vector<int32_t> tokens = SyntheticTokens(o.tokens, vocab_size, static_cast<uint64_t>(i));
    SftExample example;
    example.prompt_P = {tokens[0]};
    example.completion_T.assign(tokens.begin() + 1, tokens.end());
    example.weights_T.assign(example.completion_T.size(), 1.0f);
    examples.push_back(std::move(example));
  }
  return examples;
}

std::vector<ScoredGroup> Groups(const LearnBenchOptions& o, int64_t vocab_size) {
  std::vector<ScoredGroup> groups;
  for (int64_t g = 0; g < o.groups; ++g)
    groups.push_back(SyntheticGroup({o.prompt_tokens, o.answers, o.answer_tokens, o.common_tokens}, vocab_size, static_cast<uint64_t>(g)));
  return groups;
}

// Median seconds after one warm-up.
Result<double> Median(int64_t repeats, const std::function<Status(int64_t step)>& run) {
  std::vector<double> seconds;
  for (int64_t i = 0; i <= repeats; ++i) {
    double start = SteadySeconds();
    CANDOR_TRY(run(i + 1));
    if (i > 0) seconds.push_back(SteadySeconds() - start);
  }
  std::sort(seconds.begin(), seconds.end());
  return seconds[seconds.size() / 2];
}

}  // namespace

Result<LearnBenchResult> LearnBench(const std::string& model_folder, const LearnBenchOptions& o) {
  at::set_num_threads(static_cast<int>(o.threads));
  std::unique_ptr<Collective> alone = std::move(MakeLocalCollectives(1)[0]);
  CANDOR_ASSIGN(ModelConfig config, ReadModelConfig(model_folder));
  CANDOR_ASSIGN(const Placement placement, PlaceLearner(o.device, o.dtype, false, *alone));
  ShardedPolicy policy(config, {Sharding::kNone, placement.dtype, false, placement.device}, *alone);
  CANDOR_TRY(policy.LoadFolder(model_folder));
  LearnBenchResult result;
  result.dtype = Name(placement.dtype);

  SftOptions sft;
  sft.tokens_per_microbatch = o.sequences * o.tokens, sft.recompute = o.recompute;
  SftStepper plain(sft, o.repeats + 1, std::nullopt, false, policy);
  std::vector<SftExample> examples = Sequences(o, config.vocab_size);
  std::vector<const SftExample*> rows;
  for (const SftExample& example : examples) rows.push_back(&example);
  CANDOR_ASSIGN(result.step_seconds, Median(o.repeats, [&](int64_t step) -> Status {
                  CANDOR_ASSIGN(SftStepResult done, plain.Run(step, rows));
                  return done.skipped ? Status(Fail(ErrorCode::kInternal, done.why)) : Status{};
                }));
  result.tokens_per_second = static_cast<double>(o.sequences * o.tokens) / result.step_seconds;

  TrainerOptions trainer;
  trainer.tokens_per_microbatch = o.groups * (o.prompt_tokens + o.answers * o.answer_tokens) + 1, trainer.recompute = o.recompute;
  CANDOR_ASSIGN(RlSettings settings, CheckRlSettings(trainer, {ObjectiveOptions{}}, std::nullopt, false));
  RlStepper shared(settings, policy);
  std::vector<ScoredGroup> groups = Groups(o, config.vocab_size);
  CANDOR_ASSIGN(result.shared_step_seconds, Median(o.repeats, [&](int64_t step) -> Status {
                  CANDOR_ASSIGN(StepResult done, shared.Run(step, groups));
                  result.update_seconds = done.metrics["time/update"];
                  return done.skipped ? Status(Fail(ErrorCode::kInternal, done.why)) : Status{};
                }));
  result.shared_tokens_per_second =
      static_cast<double>(o.groups * o.answers * (o.prompt_tokens + o.answer_tokens)) / result.shared_step_seconds;
  return result;
}

}  // namespace candor
