// The load of `candor bench coordinator`: many workers' connections in a few processes, because one process may not open files enough.
#pragma once
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/transport.h"

namespace candor::cli {

// In memory that all processes of the load share.
struct SharedLoad {
  static constexpr uint64_t kLatenciesMax = uint64_t{1} << 22;
  std::atomic<bool> go, measuring, stop;  // go: everybody has joined (or had the time to): the load begins
  std::atomic<uint32_t> joined;
  std::atomic<uint64_t> leases, answers, latencies;
  float latency_s[kLatenciesMax];  // of lease requests while measuring; what comes after the last one is only counted

  void Took(double seconds) {
    if (const uint64_t at = latencies++; at < kLatenciesMax) latency_s[at] = static_cast<float>(seconds);
  }
};

struct LoadPart {
  uint32_t first = 0, count = 0;  // workers rollout-<first> ...
  uint32_t reward = 0;            // and reward-<reward>, which scores what they lease
  double lease_every_s = 1;
};

// Opens the connections of a part and keeps them busy until `shared.stop`.
Status RunLoadPart(const LoadPart& part, const RunKeys& keys, const std::string& endpoint, SharedLoad& shared);

}  // namespace candor::cli
