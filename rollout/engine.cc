// Requests, weights and results of the engine; one step is in engine_step.cc.
#include "rollout/engine.h"

#include "core/log.h"
#include "rollout/engine_impl.h"

namespace candor {

Status FromException(const std::exception& error, const std::string& during) {
  const std::string text = error.what();
  const std::string first_line = text.substr(0, text.find('\n'));
  const bool memory = text.find("memory") != std::string::npos || text.find("bad_alloc") != std::string::npos;
  return Fail(ErrorCode::kInternal, during + " failed: " + first_line, "", memory ? "lower rollout.max_batch or rollout.kv_memory_mb" : "");
}

namespace {

bool SameShape(const ModelConfig& a, const ModelConfig& b) {
  return a.family == b.family && a.vocab_size == b.vocab_size && a.hidden_size == b.hidden_size &&
         a.intermediate_size == b.intermediate_size && a.num_layers == b.num_layers && a.num_heads == b.num_heads &&
         a.num_kv_heads == b.num_kv_heads && a.head_dim == b.head_dim && a.tie_embeddings == b.tie_embeddings;
}

}  // namespace

Status CheckTokenIds(const std::vector<int32_t>& ids, int64_t vocab_size, const std::string& what) {
  for (size_t i = 0; i < ids.size(); ++i)
    if (!(0 <= ids[i] && ids[i] < vocab_size))
      return Fail(ErrorCode::kInvalidInput, "token " + std::to_string(i) + " of " + what + " is " + std::to_string(ids[i]) +
                                                ", outside the model's vocabulary of " + std::to_string(vocab_size));
  return {};
}

Engine::Engine(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Engine::~Engine() = default;

Result<std::unique_ptr<Engine>> Engine::Create(const EngineOptions& options) {
  CANDOR_TRY(CheckEngineOptions(options));
  auto impl = std::make_unique<Impl>();
  impl->options = options;
  CANDOR_ASSIGN(const DType wanted, ParseDType(options.dtype));
  CANDOR_ASSIGN(impl->device, OpenDevice(options.device, options.deterministic, options.worker));
  at::set_num_threads(static_cast<int>(options.threads));
  impl->numerics.deterministic = options.deterministic;
  impl->numerics.dtype = options.deterministic ? DType::kFp32 : ResolveDType(wanted, impl->device);
  return std::unique_ptr<Engine>(new Engine(std::move(impl)));
}

Status Engine::Load(PolicyVersion version, const std::string& folder) {
  try {
    CANDOR_ASSIGN(const ModelConfig config, ReadModelConfig(folder));
    CANDOR_ASSIGN(Parameters loaded, candor::LoadParameters(folder, config, ToScalarType(impl_->numerics.dtype)));
    return impl_->Install(version, config, std::make_unique<Parameters>(loaded.To(impl_->device)));
  } catch (const std::exception& error) {
    return FromException(error, "loading weights from " + folder);
  }
}

Status Engine::LoadParameters(PolicyVersion version, const ModelConfig& config, const Parameters& parameters) {
  try {
    return impl_->Install(version, config,
                          std::make_unique<Parameters>(parameters.Cast(ToScalarType(impl_->numerics.dtype)).To(impl_->device)));
  } catch (const std::exception& error) {
    return FromException(error, "taking weights of version " + ToString(version));
  }
}

// A failure, thrown or returned, leaves the version before whole; one that comes when that has begun to go leaves the engine without
// weights, which the next request and step are told, until an Install succeeds. Traces keep their place meanwhile. Cache, rope and
// scheduler are of `config`'s shape whenever there is a scheduler.
Status Engine::Impl::Install(PolicyVersion new_version, const ModelConfig& new_config, std::unique_ptr<Parameters> new_parameters) {
  const at::NoGradGuard no_grad;
  const bool fits = scheduler && SameShape(config, new_config);
  if (!fits && !groups.empty())
    return Fail(ErrorCode::kInvalidInput, "the new weights are of another shape, and traces of the old model are still running");
  if (numerics.deterministic && !self_tested) {
    if (!SelfTestRowInvariance(new_config.hidden_size, new_config.intermediate_size, new_config.vocab_size))
      return Fail(ErrorCode::kInvalidInput,
                  "this machine's fp32 products give a row different bits in different batches, so deterministic mode cannot be promised",
                  "", "run without deterministic mode");
    self_tested = true;
  }
  if (!fits) {
    CANDOR_ASSIGN(KvCache made, KvCache::Make(new_config, ToScalarType(numerics.dtype), options.page_tokens, options.kv_memory_mb, device));
    loaded = false;
    scheduler.reset();
    cache = std::move(made);
    rope.emplace(new_config);
    config = new_config;
    scheduler.emplace(
        SchedulerOptions{options.max_batch, options.page_tokens, cache->pages(), options.prefill_tokens, options.share_prefixes});
  }
  loaded = false;
  scheduler->ForgetPrefixes();
  weights = {};  // the packed forms of the old version go before those of the new one are made
  parameters = std::move(new_parameters);
  config = new_config;
  weights = BindDecoder(config, *parameters, numerics, options.max_batch);
  version = new_version;
  loaded = true;
  spdlog::debug("weights loaded version={} device={} dtype={} pages={} page_tokens={}", version.value, Name(device), Name(numerics.dtype),
                cache->pages(), options.page_tokens);
  return {};
}

Status Engine::Submit(EngineRequest request) { return impl_->Submit(std::move(request)); }

Status Engine::Impl::Submit(EngineRequest request) {
  if (!loaded) return Fail(ErrorCode::kInvalidInput, "a request came before any weights were loaded");
  const std::string name = "group " + ToString(request.id);
  if (keys.count(request.id)) return Fail(ErrorCode::kInvalidInput, name + " is in the engine already");
  if (request.prompt_tokens_P.empty()) return Fail(ErrorCode::kInvalidInput, name + " has an empty prompt");
  if (!(request.traces >= 0 && request.greedy_traces >= 0 && request.traces + request.greedy_traces >= 1 &&
        request.traces + request.greedy_traces <= 65536))
    return Fail(ErrorCode::kInvalidInput,
                name + " asks for " + std::to_string(request.traces) + " + " + std::to_string(request.greedy_traces) + " traces", "",
                "ask for 1 to 65536");
  if (!request.episode) return Fail(ErrorCode::kInvalidInput, name + " has no episode");
  CANDOR_TRY(CheckSamplingOptions(request.sampling));
  CANDOR_TRY(CheckTokenIds(request.prompt_tokens_P, config.vocab_size, "the prompt of " + name));
  LiveGroup group;
  int64_t limit = 0;
  for (int32_t i = 0; i < request.traces + request.greedy_traces; ++i) {
    LiveTrace live;
    live.sampling = request.sampling;
    live.trace.index = i;
    live.trace.greedy = i >= request.traces;
    if (live.trace.greedy) live.sampling.temperature = 0.0;
    live.episode = request.episode(live.sampling);
    live.token_limit = live.episode->max_tokens();
    limit = std::max(limit, live.token_limit);
    group.traces.push_back(std::move(live));
  }
  const auto prompt_tokens = static_cast<int64_t>(request.prompt_tokens_P.size());
  if (config.max_positions > 0 && prompt_tokens + limit > config.max_positions)
    return Fail(ErrorCode::kInvalidInput,
                name + ": a prompt of " + std::to_string(prompt_tokens) + " tokens and up to " + std::to_string(limit) +
                    " new ones exceed the model's " + std::to_string(config.max_positions) + " positions",
                "", "shorten the prompt or lower max_new_tokens");
  CANDOR_TRY(scheduler->Submit(next_key, request.prompt_tokens_P, request.traces + request.greedy_traces, limit));
  group.open = request.traces + request.greedy_traces;
  keys.emplace(request.id, next_key);
  group.request = std::move(request);
  groups.emplace(next_key++, std::move(group));
  return {};
}

Status Engine::Step() {
  if (!impl_->loaded) return Fail(ErrorCode::kInvalidInput, "a step was asked for before any weights were loaded");
  try {
    return impl_->Step();
  } catch (const std::exception& error) {
    return FromException(error, "an engine step");
  }
}

bool Engine::Impl::Cancel(GroupId id) {
  const auto it = keys.find(id);
  if (it == keys.end()) return false;
  scheduler->Cancel(it->second);
  groups.erase(it->second);
  keys.erase(it);
  return true;
}

bool Engine::Cancel(GroupId id) { return impl_->Cancel(id); }
std::vector<TraceGroup> Engine::TakeFinished() { return std::exchange(impl_->finished, {}); }
bool Engine::busy() const { return !impl_->groups.empty(); }
bool Engine::loaded() const { return impl_->loaded; }
PolicyVersion Engine::version() const { return impl_->version; }
const ModelConfig& Engine::config() const { return impl_->config; }
const char* Engine::dtype() const { return Name(impl_->numerics.dtype); }
std::string Engine::device() const { return Name(impl_->device); }

int64_t Engine::open_traces() const {
  int64_t open = 0;
  for (const auto& [key, group] : impl_->groups) open += group.open;
  return open;
}

std::map<GroupId, uint64_t> Engine::Progress() const {
  std::map<GroupId, uint64_t> progress;
  for (const auto& [key, group] : impl_->groups) {
    uint64_t tokens = 0;
    for (const LiveTrace& live : group.traces) tokens += live.trace.tokens_T.size();
    progress[group.request.id] = tokens;
  }
  return progress;
}

EngineStats Engine::stats() const {
  EngineStats stats = impl_->stats;
  if (!impl_->scheduler) return stats;
  const BatchScheduler& scheduler = *impl_->scheduler;
  stats.reused_tokens = static_cast<uint64_t>(scheduler.reused_tokens());
  stats.joins = static_cast<uint64_t>(scheduler.joins()), stats.leaves = static_cast<uint64_t>(scheduler.leaves());
  stats.running = scheduler.running(), stats.waiting_traces = scheduler.waiting_traces(), stats.waiting_groups = scheduler.waiting_groups();
  stats.pages_used = scheduler.pages_in_use(), stats.pages_free = scheduler.pool().total() - stats.pages_used;
  stats.pages_reused = scheduler.pool().reused();
  return stats;
}

}  // namespace candor
