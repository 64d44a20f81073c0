// rollout/engine.h without a model: each step gives every open trace one token, a function of seed, prompt, trace and position. A prompt
// that begins with kBreaks ends the engine; longer ones than kPositions are refused, as the real one does.
#include "tests/serve/engine_stand_in.h"

#include <chrono>
#include <thread>

#include "rollout/engine.h"

namespace candor {

struct Engine::Impl {
  struct Writing {
    EngineRequest request;
    std::vector<std::unique_ptr<Episode>> episodes_G;
    std::vector<Trace> traces_G;
    size_t open = 0;
  };
  int64_t vocab_size = 0;
  std::vector<Writing> groups;
  std::vector<TraceGroup> finished;
  EngineStats stats;
};

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options) {
  auto impl = std::make_unique<Impl>();
  impl->vocab_size = options.max_batch;
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Status Engine::Submit(EngineRequest request) {
  const auto refuse = [&](const std::string& why) { return Fail(ErrorCode::kInvalidInput, "group " + ToString(request.id) + " " + why); };
  if (request.prompt_tokens_P.empty()) return refuse("has an empty prompt");
  for (const int32_t id : request.prompt_tokens_P)
    if (!(0 <= id && id < impl_->vocab_size)) return refuse("has an id outside the vocabulary");
  if (static_cast<int64_t>(request.prompt_tokens_P.size()) + request.sampling.max_new_tokens > stand_in::kPositions)
    return refuse("is too long");
  Impl::Writing writing;
  for (int32_t g = 0; g < request.traces; ++g) {
    writing.episodes_G.push_back(request.episode(request.sampling));
    writing.traces_G.emplace_back();
    writing.traces_G.back().index = g;
  }
  writing.open = writing.traces_G.size();
  writing.request = std::move(request);
  impl_->groups.push_back(std::move(writing));
  return {};
}

static Status StepTrace(Engine::Impl& engine, Engine::Impl::Writing& group, size_t g) {
  Trace& trace = group.traces_G[g];
  Episode& episode = *group.episodes_G[g];
  const NextAction next = episode.Next();
  if (next.kind == NextAction::Kind::kFinish) {
    trace.finish = next.finish;
    TraceReadings readings;
    for (auto* list : {&readings.self_certainty_T, &readings.token_confidence_T, &readings.margin_T}) list->resize(trace.tokens_T.size());
    CANDOR_TRY(episode.Finish(trace, readings));
    group.episodes_G[g].reset();
    --group.open;
    return {};
  }
  uint64_t mixed = group.request.seed * 31 + g;
  for (const int32_t id : group.request.prompt_tokens_P) mixed = mixed * 31 + static_cast<uint64_t>(id);
  mixed = (mixed + trace.tokens_T.size()) * 0x9e3779b97f4a7c15ull;
  SampledToken token;
  token.trace = static_cast<int32_t>(g);
  token.id =
      next.kind == NextAction::Kind::kForce ? next.ids[0] : static_cast<int32_t>((mixed >> 33) % static_cast<uint64_t>(engine.vocab_size));
  token.log_prob = -0.5f;
  for (int32_t k = 0; k < group.request.top_log_probs; ++k) token.top.emplace_back(k, -1.0f - static_cast<float>(k));
  trace.tokens_T.push_back(token.id), trace.log_probs_T.push_back(token.log_prob), trace.entropy_T.push_back(0.0f),
      trace.version_T.push_back(0);
  CANDOR_TRY(episode.Append(token.id, Origin::kPolicy));
  if (group.request.on_token) group.request.on_token(token);
  ++engine.stats.sampled_tokens;
  return {};
}

Status Engine::Step() {
  std::this_thread::sleep_for(std::chrono::microseconds(200));
  for (Impl::Writing& group : impl_->groups) {
    if (group.request.prompt_tokens_P[0] == stand_in::kBreaks) return Fail(ErrorCode::kInternal, "the logits are not finite");
    for (size_t g = 0; g < group.traces_G.size(); ++g)
      if (group.episodes_G[g]) CANDOR_TRY(StepTrace(*impl_, group, g));
    if (group.open == 0)
      impl_->finished.push_back({group.request.id, {}, {}, group.request.prompt_tokens_P, std::move(group.traces_G), ""});
  }
  std::erase_if(impl_->groups, [](const Impl::Writing& group) { return group.open == 0; });
  impl_->stats.running = static_cast<int64_t>(impl_->groups.size());
  return {};
}

std::vector<TraceGroup> Engine::TakeFinished() { return std::exchange(impl_->finished, {}); }
bool Engine::busy() const { return !impl_->groups.empty(); }
bool Engine::Cancel(GroupId id) {
  return std::erase_if(impl_->groups, [&](const Impl::Writing& group) { return group.request.id == id; }) > 0;
}
EngineStats Engine::stats() const { return impl_->stats; }

}  // namespace candor
