// `candor bench shard`: the same five learning steps by one rank and by several that share the weights, through mpirun as a run does it:
// how far the results are apart, what each rank holds, and, over a link with latency, how much of the communication is hidden.
#pragma once
#include <string>

#include "core/collective_delayed.h"
#include "core/result.h"

namespace candor::cli {

struct ShardBenchArguments {
  std::string model, device = "auto", dtype = "fp32";
  int64_t ranks = 2;
  std::string sharding = "zero3";
  int64_t steps = 5, groups = 8, answer_tokens = 16, prompt_tokens = 24;
  LinkModel link;        // between the ranks; not slower: as it is
  std::string rank_out;  // set in a rank: the folder for its result
};

// Runs the whole comparison; the result as one JSON object.
Result<std::string> RunShardBench(const ShardBenchArguments& arguments);
// What one rank of it does.
Status RunShardBenchRank(const ShardBenchArguments& arguments);

}  // namespace candor::cli
