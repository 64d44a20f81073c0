// The numbers of `candor bench shard`: five learning steps of one model on all ranks of a collective, each rank with its share of the same
// groups, so that the results of different numbers of ranks can be compared. No torch in this header.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/collective_delayed.h"
#include "core/result.h"

namespace candor {

struct ShardBenchOptions {
  std::string sharding = "zero3";
  std::string device = "auto";
  std::string dtype = "fp32";
  int64_t threads = 1;
  int64_t steps = 5;
  int64_t groups_per_microbatch = 2;
  int64_t groups = 8, answers = 4, answer_tokens = 16, prompt_tokens = 24;  // of one step, on all ranks together
  double lr = 1e-5;
  LinkModel link;  // between the ranks; not slower: as it is
};
struct ShardBenchResult {
  double step_seconds = 0.0;  // median; the first step is warm-up where there are more
  // Of this rank, in bytes (trainer/sharded_policy.h).
  int64_t owned_bytes = 0, gathered_bytes_peak = 0, gathered_units_peak = 0, gradient_bytes_peak = 0;
  // What the rank may hold at most: ShardedPolicy::MemoryBound.
  int64_t bound_bytes = 0;
  CommunicationTimes communication;  // over a slower link: of this rank, of a step
  std::vector<float> masters;        // rank 0: the whole policy's fp32 master weights; empty elsewhere
};
Result<ShardBenchResult> ShardBench(const std::string& model_folder, const ShardBenchOptions& options, Collective& collective);

// ||a - b|| / ||b|| over vectors of one length.
double RelativeDistance(const std::vector<float>& a, const std::vector<float>& b);

}  // namespace candor
