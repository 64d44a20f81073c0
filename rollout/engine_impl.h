// The inside of the engine, shared by engine.cc (requests, weights), engine_step.cc (one step) and scorer.cc.
#pragma once
#include <memory>
#include <optional>
#include <unordered_map>

#include "model/decoder.h"
#include "model/device.h"
#include "model/head.h"
#include "rollout/engine.h"
#include "rollout/kv_cache.h"
#include "rollout/sampler.h"
#include "rollout/scheduler.h"

namespace candor {

// One trace on its way. `pending` are tokens that have joined the trace but whose keys and values are not stored yet.
struct LiveTrace {
  Trace trace;
  TraceReadings readings;
  std::unique_ptr<Episode> episode;
  NextAction action;  // what the logits behind the pending tokens are for
  std::vector<int32_t> pending;
  int64_t stored = 0;  // positions in the cache, the prompt included
  int64_t token_limit = 0;
  SamplingOptions sampling;        // temperature 0 for a greedy trace
  std::vector<float> confidences;  // DeepConf's token confidence of the sampled tokens
  double window_sum = 0.0;         // of the last `window` confidences
  bool done = false;
};

struct LiveGroup {
  EngineRequest request;
  std::vector<LiveTrace> traces;
  int32_t open = 0;
};

struct Engine::Impl {
  EngineOptions options;
  at::Device device = at::kCPU;  // of the weights and the cache; logits are read on the host
  Numerics numerics;
  bool loaded = false;
  PolicyVersion version;
  ModelConfig config;
  std::unique_ptr<Parameters> parameters;
  DecoderWeights weights;
  std::optional<RopeTable> rope;
  std::optional<KvCache> cache;
  std::optional<BatchScheduler> scheduler;
  bool self_tested = false;
  BatchScheduler::GroupKey next_key = 0;
  std::unordered_map<BatchScheduler::GroupKey, LiveGroup> groups;
  std::unordered_map<GroupId, BatchScheduler::GroupKey> keys;
  std::vector<TraceGroup> finished;
  EngineStats stats;
  std::vector<SamplerScratch> scratch;                // one per thread
  at::Tensor logits = at::empty({0, 0}, at::kFloat);  // on the host, kept between steps: as large as the largest so far

  Status Install(PolicyVersion new_version, const ModelConfig& new_config, std::unique_ptr<Parameters> new_parameters);
  Status Submit(EngineRequest request);
  Status Step();
  bool Cancel(GroupId id);

 private:
  // The flat rows of one step and what is wanted from them.
  struct StepRows {
    std::vector<int32_t> ids_N, positions_N;
    PagedStep paged;
    std::vector<int64_t> logit_rows_M;
    int64_t prompt_rows = 0;
  };
  // One token to decide: logits row m, trace.
  struct Decision {
    int64_t m = 0;
    BatchScheduler::TraceKey key;
    bool joined = false;  // holds a place in the batch
    int32_t token = 0;
  };

  LiveTrace& Live(BatchScheduler::TraceKey key) { return groups.at(key.group).traces[static_cast<size_t>(key.index)]; }
  void AddRows(StepRows& rows, const std::vector<int32_t>& ids, int64_t first, int64_t count, int64_t first_position,
               const std::vector<int32_t>& pages) const;
  void AddTraceRows(StepRows& rows, const BatchScheduler::Plan& plan, std::vector<Decision>& decisions);
  Status AddPromptRows(StepRows& rows, const BatchScheduler::Plan& plan, std::vector<Decision>& decisions);
  at::Tensor Forward(const StepRows& rows);
  Status Decide(const at::Tensor& logits_MV, std::vector<Decision>& decisions, std::vector<RowReading>& readings_M);
  void Choose(Decision& decision, const RowReading& reading, const float* logits_V, SamplerScratch& mine) const;
  Status Apply(const Decision& decision, const RowReading& reading, const float* logits_V);
  Status AppendToken(LiveTrace& live, int32_t id, Origin origin, const RowReading* reading);
  // Asks the episode until it wants logits or ends.
  Status Advance(LiveTrace& live);
  Status EndTrace(BatchScheduler::TraceKey key, bool joined);
  void CloseGroup(BatchScheduler::GroupKey key);
  void UpdateStats(double seconds, const StepRows& rows);
};

// What LibTorch threw, as an error.
Status FromException(const std::exception& error, const std::string& during);
// Every id in [0, vocab_size); the error names `what` and the first bad id.
Status CheckTokenIds(const std::vector<int32_t>& ids, int64_t vocab_size, const std::string& what);

}  // namespace candor
