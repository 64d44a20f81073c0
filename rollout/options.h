// Settings of a rollout worker and its engine, with their option table (core/options.h): section "rollout".
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/options.h"

namespace candor {

// How one token is chosen. None of these touches what is recorded: log-probabilities and confidence signals are always those of the raw
// distribution at T = 1.
struct SamplingOptions {
  double temperature = 1.0;     // 0 = greedy
  double top_p = 1.0;           // 1 = off
  int64_t top_k = 0;            // 0 = off
  double min_p = 0.0;           // 0 = off
  int64_t max_new_tokens = 64;  // sampled tokens of a trace
  double stop_below_confidence =
      0.0;  // DeepConf's online stop: a trace ends (kBudget) when a full window's confidence falls below this; 0 = off
};

// What the engine needs to know about the machine.
struct EngineOptions {
  std::string device = "auto";  // auto | cpu | cuda
  std::string dtype = "auto";   // auto | bf16 | fp32
  bool deterministic = false;   // fp32, results independent of the batch
  int worker = 0;               // which of this machine's engines: they spread over its GPUs
  int64_t threads = 2;
  int64_t max_batch = 64;         // sequences decoded together
  int64_t page_tokens = 32;       // positions per page of the key-value cache, a multiple of 16
  int64_t kv_memory_mb = 512;     // bytes are only touched as pages are used
  int64_t prefill_tokens = 512;   // prompt tokens computed beside one decode step
  bool share_prefixes = true;     // a prompt takes over what an earlier one has in common with it
  int64_t window = 16;            // tokens in the window of the signal "lowest_window"
  int64_t confidence_top_k = 20;  // tokens in DeepConf's token confidence
};

struct RolloutOptions {
  int64_t workers = 1;
  EngineOptions engine;  // device, dtype and deterministic are settings of the whole run and have no key here
  SamplingOptions sampling;
  std::vector<std::string> stop;  // besides the format's own end
  int64_t greedy_traces = 0;
  bool swap_in_flight = false;
};

void Declare(OptionTable& table, RolloutOptions& options);
// Values that fit together (page size, memory); names the key.
Status CheckEngineOptions(const EngineOptions& options);
Status CheckSamplingOptions(const SamplingOptions& options);

}  // namespace candor
