#include "rollout/bench.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/rng.h"
#include "model/config.h"
#include "model/parameters.h"
#include "model/policy_pass.h"

namespace candor {
namespace {

// Exactly max_new_tokens, whatever they say.
class FixedLength final : public Episode {
 public:
  explicit FixedLength(int64_t count) : count_(count) {}
  int64_t max_tokens() const override { return count_; }
  NextAction Next() override {
    NextAction action;
    if (seen_ == count_) action.kind = NextAction::Kind::kFinish, action.finish = FinishReason::kLength;
    return action;
  }
  Status Append(int32_t, Origin) override { return ++seen_, Status{}; }
  Status Finish(Trace& trace, const TraceReadings&) override {
    trace.spans = {{Origin::kPolicy, Segment::kNone, 0, 0, static_cast<int32_t>(seen_)}};
    return {};
  }

 private:
  int64_t count_, seen_ = 0;
};

// Sampled with made-up prompts; what came out goes to `take`.
template <typename Options, typename Take>
Status RunOnce(Engine& engine, const Options& options, int64_t new_tokens, uint64_t first_id, Take take) {
  const auto vocabulary = static_cast<uint64_t>(engine.config().vocab_size);
  const int64_t groups = std::max<int64_t>(1, options.prompts / options.group_size);
  for (int64_t g = 0; g < groups; ++g) {
    EngineRequest request;
    request.id = GroupId{first_id + static_cast<uint64_t>(g)};
    for (int64_t i = 0; i < options.prompt_tokens; ++i)
      request.prompt_tokens_P.push_back(
          static_cast<int32_t>(RandomBits(1, RngStream::kSynthetic, request.id.value, static_cast<uint64_t>(i)) % vocabulary));
    request.traces = options.group_size;
    request.sampling.max_new_tokens = new_tokens;
    request.episode = [](const SamplingOptions& sampling) -> std::unique_ptr<Episode> {
      return std::make_unique<FixedLength>(sampling.max_new_tokens);
    };
    CANDOR_TRY(engine.Submit(std::move(request)));
  }
  while (engine.busy()) {
    CANDOR_TRY(engine.Step());
    for (const TraceGroup& group : engine.TakeFinished()) CANDOR_TRY(take(group));
  }
  return {};
}

Status Forget(const TraceGroup&) { return {}; }

}  // namespace

Result<GenerateBenchResult> GenerateBench(const GenerateBenchOptions& options) {
  if (!(options.prompts >= 1 && options.prompt_tokens >= 1 && options.new_tokens >= 1 && options.group_size >= 1))
    return Fail(ErrorCode::kInvalidInput, "the bench needs at least one prompt, prompt token, new token and trace");
  EngineOptions engine_options;
  engine_options.device = options.device;
  engine_options.dtype = options.dtype;
  engine_options.threads = options.threads;
  engine_options.max_batch = options.prompts;
  CANDOR_ASSIGN(const std::unique_ptr<Engine> engine, Engine::Create(engine_options));
  const double load_start = SteadySeconds();
  CANDOR_TRY(engine->Load(PolicyVersion{0}, options.folder));
  GenerateBenchResult result;
  result.load_seconds = SteadySeconds() - load_start;
  if (options.warm_up) CANDOR_TRY(RunOnce(*engine, options, std::min<int64_t>(4, options.new_tokens), 1u << 20, Forget));
  const EngineStats before = engine->stats();
  const double start = SteadySeconds();
  CANDOR_TRY(RunOnce(*engine, options, options.new_tokens, 1, Forget));
  result.seconds = SteadySeconds() - start;
  const EngineStats after = engine->stats();
  result.new_tokens = after.sampled_tokens - before.sampled_tokens;
  result.prompt_tokens = after.prompt_tokens - before.prompt_tokens;
  result.steps = after.steps - before.steps;
  result.running_max = after.running_max;
  result.dtype = engine->dtype();
  const double prefill = after.prefill_seconds - before.prefill_seconds;
  result.tokens_per_second = static_cast<double>(result.new_tokens) / result.seconds;
  result.decode_tokens_per_second = static_cast<double>(result.new_tokens) / std::max(1e-9, result.seconds - prefill);
  result.prefill_tokens_per_second = prefill > 0 ? static_cast<double>(result.prompt_tokens) / prefill : 0.0;
  return result;
}

std::string ToJson(const GenerateBenchResult& r) {
  const nlohmann::ordered_json json = {{"name", "generate"},
                                       {"tokens_per_second", r.tokens_per_second},
                                       {"decode_tokens_per_second", r.decode_tokens_per_second},
                                       {"prefill_tokens_per_second", r.prefill_tokens_per_second},
                                       {"seconds", r.seconds},
                                       {"load_seconds", r.load_seconds},
                                       {"new_tokens", r.new_tokens},
                                       {"prompt_tokens", r.prompt_tokens},
                                       {"steps", r.steps},
                                       {"running_max", r.running_max},
                                       {"dtype", r.dtype}};
  return json.dump();
}

Result<MismatchBenchResult> MismatchBench(const MismatchBenchOptions& options) {
  if (!(options.prompts >= 1 && options.prompt_tokens >= 1 && options.new_tokens >= 1 && options.group_size >= 1))
    return Fail(ErrorCode::kInvalidInput, "the bench needs at least one prompt, prompt token, new token and trace");
  EngineOptions engine_options;
  engine_options.device = options.device;
  engine_options.dtype = options.deterministic ? "fp32" : options.dtype;
  engine_options.deterministic = options.deterministic;
  engine_options.threads = options.threads;
  engine_options.max_batch = options.prompts * options.group_size;
  CANDOR_ASSIGN(const std::unique_ptr<Engine> engine, Engine::Create(engine_options));
  CANDOR_TRY(engine->Load(PolicyVersion{0}, options.folder));

  MismatchBenchResult result;
  result.dtype = engine->dtype();
  result.deterministic = options.deterministic;
  Numerics numerics;
  CANDOR_ASSIGN(numerics.dtype, ParseDType(result.dtype));
  numerics.deterministic = options.deterministic;
  CANDOR_ASSIGN(const Parameters loaded, LoadParameters(options.folder, engine->config(), ToScalarType(numerics.dtype)));
  const Parameters parameters = loaded.To(at::Device(engine->device()));
  const auto compare = [&](const TraceGroup& group) -> Status {
    PackedGroups batch;
    std::vector<std::vector<int32_t>> answers;
    for (const Trace& trace : group.traces_G) answers.push_back(trace.tokens_T);
    CANDOR_TRY(batch.Add(group.prompt_tokens_P, answers));
    CANDOR_ASSIGN(const TokenScores scores, ScoreTokens(engine->config(), parameters, numerics, batch));
    const float* learner = scores.log_probs_M.const_data_ptr<float>();
    for (const Trace& trace : group.traces_G)
      for (const float rollout : trace.log_probs_T) {
        const double gap = std::abs(static_cast<double>(rollout) - static_cast<double>(*learner++));
        result.mean += gap;
        result.max = std::max(result.max, gap);
        ++result.tokens;
      }
    return {};
  };
  MismatchBenchOptions groups = options;
  groups.prompts *= options.group_size;
  CANDOR_TRY(RunOnce(*engine, groups, options.new_tokens, 1, compare));
  result.mean /= static_cast<double>(result.tokens);
  return result;
}

std::string ToJson(const MismatchBenchResult& r) {
  const nlohmann::ordered_json json = {
      {"name", "mismatch"}, {"mean_abs_log_prob_difference", r.mean}, {"max_abs_log_prob_difference", r.max},
      {"tokens", r.tokens}, {"deterministic", r.deterministic},       {"dtype", r.dtype}};
  return json.dump();
}

}  // namespace candor
