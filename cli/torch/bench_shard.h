// `candor bench shard`: the same five learning steps by one rank and by several that share the weights, through mpirun as a run does it:
// how far the results are apart and what each rank holds.
#pragma once
#include <string>

#include "core/result.h"

namespace candor::cli {

struct ShardBenchArguments {
  std::string model, device = "auto", dtype = "fp32";
  int64_t ranks = 2;
  std::string sharding = "zero3";
  std::string rank_out;  // set in a rank: the folder for its result
};

// Runs the whole comparison; the result as one JSON object.
Result<std::string> RunShardBench(const ShardBenchArguments& arguments);
// What one rank of it does.
Status RunShardBenchRank(const ShardBenchArguments& arguments);

}  // namespace candor::cli
