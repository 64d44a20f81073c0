#include "rollout/bench.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/clock.h"
#include "core/rng.h"
#include "model/config.h"
#include "model/parameters.h"
#include "model/policy_pass.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"

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

using Prompts = std::vector<std::vector<int32_t>>;

Prompts MadeUpPrompts(int64_t count, int64_t tokens, int64_t vocab_size) {
  Prompts prompts(static_cast<size_t>(count));
  for (size_t g = 0; g < prompts.size(); ++g)
    for (int64_t i = 0; i < tokens; ++i)
      prompts[g].push_back(
          static_cast<int32_t>(RandomBits(1, RngStream::kSynthetic, g, static_cast<uint64_t>(i)) % static_cast<uint64_t>(vocab_size)));
  return prompts;
}

Result<Prompts> QuestionPrompts(int64_t count, const std::string& folder) {
  CANDOR_ASSIGN(const Tokenizer tokenizer, Tokenizer::Load(folder));
  CANDOR_ASSIGN(const ChatTemplate chat, ChatTemplate::Load(folder));
  Prompts prompts;
  for (uint64_t g = 0; g < static_cast<uint64_t>(count); ++g) {
    const auto number = [&](uint64_t which) { return std::to_string(10 + RandomBits(1, RngStream::kSynthetic, g, which) % 90); };
    const ChatMessage question{
        "user", "What is " + number(0) + " + " + number(1) + "? Think step by step, then answer with a number and your confidence."};
    CANDOR_ASSIGN(const RenderedChat rendered, chat.Render(std::span(&question, 1), {.add_generation_prompt = true}));
    CANDOR_ASSIGN(prompts.emplace_back(), tokenizer.Encode(rendered.text, false));
  }
  return prompts;
}

// Sampled; what came out goes to `take`.
template <typename Take>
Status RunOnce(Engine& engine, const Prompts& prompts, int32_t group_size, int64_t new_tokens, uint64_t first_id, Take take) {
  for (size_t g = 0; g < prompts.size(); ++g) {
    EngineRequest request;
    request.id = GroupId{first_id + g};
    request.prompt_tokens_P = prompts[g];
    request.traces = group_size;
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
  if (!(options.prompts >= 1 && options.prompt_tokens >= 0 && options.new_tokens >= 1 && options.group_size >= 1))
    return Fail(ErrorCode::kInvalidInput, "the bench needs at least one prompt, new token and trace");
  EngineOptions engine_options;
  engine_options.device = options.device;
  engine_options.dtype = options.dtype;
  engine_options.share_prefixes = options.share_prefixes;
  engine_options.threads = options.threads;
  engine_options.max_batch = options.prompts;
  CANDOR_ASSIGN(const std::unique_ptr<Engine> engine, Engine::Create(engine_options));
  const double load_start = SteadySeconds();
  CANDOR_TRY(engine->Load(PolicyVersion{0}, options.folder));
  GenerateBenchResult result;
  result.load_seconds = SteadySeconds() - load_start;
  const int64_t groups = std::max<int64_t>(1, options.prompts / options.group_size), vocab_size = engine->config().vocab_size;
  // The warm-up's prompts have nothing in common with those that are counted.
  const Prompts warm_up = MadeUpPrompts(groups, std::max<int64_t>(options.prompt_tokens, 60), vocab_size);
  if (options.warm_up)
    CANDOR_TRY(RunOnce(*engine, warm_up, options.group_size, std::min<int64_t>(4, options.new_tokens), 1u << 20, Forget));
  Prompts prompts;
  if (options.prompt_tokens == 0) {
    CANDOR_ASSIGN(prompts, QuestionPrompts(groups, options.folder));
  } else {
    prompts = MadeUpPrompts(2 * groups, options.prompt_tokens, vocab_size);
    prompts.erase(prompts.begin(), prompts.begin() + groups);
  }
  const EngineStats before = engine->stats();
  const double start = SteadySeconds();
  CANDOR_TRY(RunOnce(*engine, prompts, options.group_size, options.new_tokens, 1, Forget));
  result.seconds = SteadySeconds() - start;
  const EngineStats after = engine->stats();
  result.new_tokens = after.sampled_tokens - before.sampled_tokens;
  const uint64_t computed = after.prompt_tokens - before.prompt_tokens;
  result.reused_tokens = after.reused_tokens - before.reused_tokens;
  result.prompt_tokens = computed + result.reused_tokens;
  result.steps = after.steps - before.steps;
  result.running_max = after.running_max;
  result.dtype = engine->dtype();
  const double prefill = after.prefill_seconds - before.prefill_seconds;
  result.tokens_per_second = static_cast<double>(result.new_tokens) / result.seconds;
  result.decode_tokens_per_second = static_cast<double>(result.new_tokens) / std::max(1e-9, result.seconds - prefill);
  result.prefill_tokens_per_second = prefill > 0 ? static_cast<double>(computed) / prefill : 0.0;
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
                                       {"reused_tokens", r.reused_tokens},
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
  const Prompts prompts = MadeUpPrompts(options.prompts, options.prompt_tokens, engine->config().vocab_size);
  CANDOR_TRY(RunOnce(*engine, prompts, options.group_size, options.new_tokens, 1, compare));
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
