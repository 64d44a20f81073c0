// How fast one whole learning step is (forward, backward, AdamW) on this machine with a real model: the numbers of `candor bench learn`. No
// torch in this header.
#pragma once
#include <cstdint>
#include <string>

#include "core/result.h"

namespace candor {

struct LearnBenchOptions {
  std::string device = "auto";
  std::string dtype = "auto";
  int64_t threads = 2;
  int64_t sequences = 16, tokens = 128;                                     // plain sequences
  int64_t groups = 1, answers = 8, answer_tokens = 32, prompt_tokens = 60;  // answers that share a prompt
  int64_t common_tokens = 0;                                                // of the prompts: those that all begin with
  int64_t repeats = 3;                                                      // the median counts; one more goes before as warm-up
  bool recompute = false;
};
struct LearnBenchResult {
  std::string dtype;
  double step_seconds = 0.0;       // sequences x tokens
  double tokens_per_second = 0.0;  // sequences * tokens / step_seconds
  double shared_step_seconds = 0.0;
  double shared_tokens_per_second =
      0.0;                      // groups * answers * (prompt + answer tokens) / seconds: what a learner without sharing would have computed
  double update_seconds = 0.0;  // AdamW alone, inside both
};
Result<LearnBenchResult> LearnBench(const std::string& model_folder, const LearnBenchOptions& options);

}  // namespace candor
