#include "rollout/options.h"

namespace candor {

void Declare(OptionTable& t, RolloutOptions& o) {
  t.Section("rollout", "how answers are generated");
  t.Int("workers", &o.workers, {.min = 1, .max = 4096, .unit = "processes", .help = "rollout workers that `candor run` starts"});
  t.Int("threads", &o.engine.threads, {.min = 1, .max = 1024, .unit = "threads", .help = "threads of one worker's engine"});
  t.Int("max_batch", &o.engine.max_batch, {.min = 1, .max = 65536, .unit = "sequences", .help = "sequences decoded together"});
  t.Int("page_tokens", &o.engine.page_tokens,
        {.min = 16, .max = 1024, .unit = "positions", .help = "positions per page of the key-value cache, a multiple of 16"});
  t.Int("kv_memory_mb", &o.engine.kv_memory_mb,
        {.min = 1, .max = 1e7, .unit = "MiB", .help = "key-value cache at most; touched only as it is used, on a GPU taken at once"});
  t.Int("prefill_tokens", &o.engine.prefill_tokens,
        {.min = 16, .max = 1e6, .unit = "tokens", .help = "prompt tokens computed beside one decode step at most"});
  t.Bool("share_prefixes", &o.engine.share_prefixes,
         {.help = "compute what prompts have in common at their beginning (system prompt, examples) once, not for each of them"});
  t.Double("temperature", &o.sampling.temperature,
           {.min = 0, .max = 10, .help = "divides the logits before a token is chosen; 0 is greedy"});
  t.Double("top_p", &o.sampling.top_p,
           {.min = 1e-6, .max = 1, .help = "keep the most likely tokens that hold this much probability; 1 is off"});
  t.Int("top_k", &o.sampling.top_k, {.min = 0, .max = 1e7, .unit = "tokens", .help = "keep this many most likely tokens; 0 is off"});
  t.Double("min_p", &o.sampling.min_p,
           {.min = 0, .max = 1, .help = "keep tokens at least this likely relative to the most likely one; 0 is off"});
  t.Int("max_new_tokens", &o.sampling.max_new_tokens, {.min = 1, .max = 1e6, .unit = "tokens", .help = "tokens a trace may sample"});
  t.Double("stop_below_confidence", &o.sampling.stop_below_confidence,
           {.min = 0, .max = 1000, .unit = "nats", .help = "end a trace whose window confidence (DeepConf) falls below this; 0 is off"});
  t.Int("window", &o.engine.window, {.min = 1, .max = 1e6, .unit = "tokens", .help = "window of the signal lowest_window"});
  t.Int("confidence_top_k", &o.engine.confidence_top_k,
        {.min = 1, .max = 1000, .unit = "tokens", .help = "tokens in DeepConf's token confidence"});
  t.StringList("stop", &o.stop, {.help = "texts that end a trace besides the format's own end; they stay in its text"});
  t.Int("greedy_traces", &o.greedy_traces,
        {.min = 0, .max = 1024, .unit = "traces", .help = "extra greedy traces per group; they train only the slot"});
  t.Bool("swap_in_flight", &o.swap_in_flight,
         {.help = "take new weights while traces run (each token knows its version) instead of between groups"});
}

Status CheckEngineOptions(const EngineOptions& options) {
  if (options.page_tokens < 16 || options.page_tokens % 16 != 0)
    return Fail(ErrorCode::kInvalidInput, "rollout.page_tokens is " + std::to_string(options.page_tokens) + ", not a multiple of 16", "",
                "use 16, 32 or 64");
  if (!(options.threads >= 1 && options.max_batch >= 1 && options.kv_memory_mb >= 1 && options.prefill_tokens >= 1 && options.window >= 1 &&
        options.confidence_top_k >= 1))
    return Fail(ErrorCode::kInvalidInput,
                "the engine's threads, max_batch, kv_memory_mb, prefill_tokens, window and confidence_top_k must be at least 1");
  if (options.deterministic && options.dtype == "bf16")
    return Fail(ErrorCode::kInvalidInput, "deterministic mode computes in fp32, but dtype is bf16", "", "set dtype = \"fp32\"");
  return {};
}

Status CheckSamplingOptions(const SamplingOptions& s) {
  if (!(0.0 <= s.temperature && s.temperature <= 100.0)) return Fail(ErrorCode::kInvalidInput, "temperature must lie in [0, 100]");
  if (!(0.0 < s.top_p && s.top_p <= 1.0)) return Fail(ErrorCode::kInvalidInput, "top_p must lie in (0, 1]");
  if (!(0.0 <= s.min_p && s.min_p <= 1.0)) return Fail(ErrorCode::kInvalidInput, "min_p must lie in [0, 1]");
  if (!(0 <= s.top_k)) return Fail(ErrorCode::kInvalidInput, "top_k must be at least 0");
  if (!(1 <= s.max_new_tokens && s.max_new_tokens <= (int64_t{1} << 24)))
    return Fail(ErrorCode::kInvalidInput, "max_new_tokens must lie in [1, 16777216]");
  if (!(0.0 <= s.stop_below_confidence)) return Fail(ErrorCode::kInvalidInput, "stop_below_confidence must be at least 0");
  return {};
}

}  // namespace candor
