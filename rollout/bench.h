// The numbers of `candor bench generate` (64 different questions in the model's chat template, 64 new sampled tokens each, all in: prompts,
// sampling, confidence readings, bookkeeping; loading the weights apart) and of `candor bench mismatch`. No torch in this header.
#pragma once
#include <cstdint>
#include <string>

#include "core/result.h"
#include "rollout/engine.h"

namespace candor {

struct GenerateBenchOptions {
  std::string folder;  // a model
  int64_t prompts = 64;
  int64_t prompt_tokens = 0;  // 0: questions, which begin alike as those of a job do; else made-up prompts that have nothing in common
  bool share_prefixes = true;
  int64_t new_tokens = 64;
  int32_t group_size = 1;  // > 1: traces per prompt, prompts / group_size distinct prompts
  std::string device = "auto";
  std::string dtype = "bf16";
  int64_t threads = 2;
  bool warm_up = true;  // a short run first, which is not counted
};

struct GenerateBenchResult {
  double tokens_per_second = 0.0;          // new tokens over the whole time
  double decode_tokens_per_second = 0.0;   // new tokens over the time that is not the prompts'
  double prefill_tokens_per_second = 0.0;  // prompt tokens computed over the prompts' share of the time (by rows)
  double seconds = 0.0;
  double load_seconds = 0.0;
  uint64_t new_tokens = 0, prompt_tokens = 0, reused_tokens = 0, steps = 0;  // prompt_tokens: all; reused: taken over from other prompts
  int64_t running_max = 0;
  std::string dtype;
};

Result<GenerateBenchResult> GenerateBench(const GenerateBenchOptions& options);
std::string ToJson(const GenerateBenchResult& result);

// How far the log-probabilities that the engine writes down while sampling are from those that the learner's pass gives for the same
// tokens.
struct MismatchBenchOptions {
  std::string folder;  // a model
  int64_t prompts = 8, prompt_tokens = 60, new_tokens = 32;
  int32_t group_size = 4;  // traces per prompt
  std::string device = "auto";
  std::string dtype = "auto";
  bool deterministic = false;  // fp32
  int64_t threads = 2;
};
struct MismatchBenchResult {
  double mean = 0.0, max = 0.0;  // |log p rollout - log p learner|, nats per token
  uint64_t tokens = 0;
  std::string dtype;
  bool deterministic = false;
};
// Errors: the folder cannot be read; deterministic mode is refused on this machine (kUnavailable, from Engine::Load).
Result<MismatchBenchResult> MismatchBench(const MismatchBenchOptions& options);
std::string ToJson(const MismatchBenchResult& result);

}  // namespace candor
