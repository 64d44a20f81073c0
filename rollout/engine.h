// The inference engine: groups of prompts in, finished trace groups out. Continuous batching over a paged key-value cache; a group's prompt
// is computed once, and what prompts have in common at their beginning once for all of them; weights are packed once per version; choosing
// a token and recording its log-probability, entropy and confidence readings are one pass over its logits.
//
//   CANDOR_ASSIGN(auto engine, Engine::Create(options));
//   engine->Load(PolicyVersion{3}, "weights/v3");
//   engine->Submit(request);
//   while (engine->busy()) { engine->Step(); for (TraceGroup& group : engine->TakeFinished()) ...; }
//
// Random numbers are a function of (seed, group, sample, position), so a group issued again elsewhere is sampled with the same numbers. In
// deterministic mode (fp32, products and attention whose rows do not depend on each other, checked by a self-test) its result does not
// depend on what else is in the batch either. No torch in this header. One thread; LibTorch's failures come back as errors.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/ids.h"
#include "core/result.h"
#include "core/trace.h"
#include "rollout/episode.h"
#include "rollout/options.h"

namespace candor {

class Parameters;    // model/parameters.h
struct ModelConfig;  // model/config.h

struct WeightImage;  // weights/version_fetcher.h

// Parameters in the engine's number format, on its device: all that can be made of a version while the engine still runs another.
struct PreparedWeights {
  PreparedWeights();
  ~PreparedWeights();
  PolicyVersion version;
  std::unique_ptr<ModelConfig> config;
  std::unique_ptr<Parameters> parameters;
};
// `dtype` and `device` as the engine tells them. Any thread.
Result<std::unique_ptr<PreparedWeights>> PrepareWeights(PolicyVersion version, const WeightImage& image, const std::string& dtype,
                                                        const std::string& device);

// One token that was sampled, told as soon as it is.
struct SampledToken {
  int32_t trace = 0;  // index in the group
  int32_t id = 0;
  float log_prob = 0.0f;                       // at T = 1 before any filter
  std::vector<std::pair<int32_t, float>> top;  // the most likely tokens with theirs, best first
};

struct EngineRequest {
  GroupId id;
  PromptRef prompt;
  StepId wave;
  std::vector<int32_t> prompt_tokens_P;
  int32_t traces = 1;         // sampled
  int32_t greedy_traces = 0;  // decoded at temperature 0, behind the sampled ones
  SamplingOptions sampling;
  uint64_t seed = 0;
  EpisodeFactory episode;
  std::optional<GroupId> drawn_as;                      // whose random numbers its traces draw; unset: its own
  int32_t top_log_probs = 0;                            // how many of the most likely tokens on_token is told
  std::function<void(const SampledToken&)> on_token{};  // in the engine's thread, within Step; must not call the engine
};

struct EngineStats {
  uint64_t steps = 0;
  uint64_t prompt_tokens = 0;  // computed (each group's prompt once)
  uint64_t shared_tokens = 0;  // prompt tokens that did not have to be computed again for a group's other traces
  uint64_t reused_tokens = 0;  // prompt tokens taken over from earlier groups' prompts
  uint64_t sampled_tokens = 0;
  uint64_t joins = 0, leaves = 0;
  int64_t running = 0, waiting_traces = 0, waiting_groups = 0, running_max = 0;
  int64_t pages_used = 0, pages_free = 0, pages_used_max = 0, pages_reused = 0;  // pages that only wait for a like prompt count as free
  double step_seconds = 0.0;                                                     // inside Step
  double prefill_seconds = 0.0;  // the share of steps' time that their prompt rows account for, by rows
  double tokens_per_second() const { return step_seconds > 0 ? static_cast<double>(sampled_tokens) / step_seconds : 0.0; }
};

class Engine {
 public:
  // Sets LibTorch's threads and opens the device. Deterministic mode is refused where the self-test of its model fails (at Load).
  static Result<std::unique_ptr<Engine>> Create(const EngineOptions& options);
  ~Engine();

  // Takes the weights of a Hugging Face folder. A running trace goes on with the new weights (each token knows its version); wait until
  // !busy() to swap between groups.
  Status Load(PolicyVersion version, const std::string& folder);
  // The same from prepared weights; only packing them is left to do.
  Status Swap(std::unique_ptr<PreparedWeights> prepared);
  // The same from parameters in memory (copied into the engine's number format).
  Status LoadParameters(PolicyVersion version, const ModelConfig& config, const Parameters& parameters);
  bool loaded() const;
  PolicyVersion version() const;
  const ModelConfig& config() const;
  // "bf16" or "fp32": what `auto` became.
  const char* dtype() const;
  // "cpu" or "cuda:0".
  std::string device() const;

  // Refused: an id that is in the engine, an empty prompt, ids outside the vocabulary, more tokens than the model's positions or the cache
  // hold.
  Status Submit(EngineRequest request);
  // One step: prompts within the token budget, and one position for every running trace. An error means that the engine is broken (out of
  // memory, logits that are not finite).
  Status Step();
  // Complete groups, in the order in which they were completed.
  std::vector<TraceGroup> TakeFinished();
  bool busy() const;
  // Takes a group out; false when it is not in the engine (any more).
  bool Cancel(GroupId id);
  // Traces submitted and not ended, and tokens written by group: what a heartbeat tells.
  int64_t open_traces() const;
  std::map<GroupId, uint64_t> Progress() const;
  EngineStats stats() const;

  struct Impl;
  Impl& impl() { return *impl_; }  // for scorer.cc

 private:
  explicit Engine(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace candor
