// What publishing a real model costs: bytes of a delta after a real step against a full broadcast, the time of both ends, and what leaves
// the learner with several receivers. The numbers of `candor bench publish`. No torch in this header.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

struct PublishBenchOptions {
  std::string scratch;  // a folder for the published versions
  double lr = 1e-6;
  int64_t threads = 2;
  int64_t sequences = 4, tokens = 64;  // of the step
  std::vector<int64_t> receivers = {1, 4, 16};
};

// Bytes and seconds by receivers.
struct Broadcast {
  double full_seconds = 0.0, delta_seconds = 0.0;
  double full_egress = 0.0, delta_egress = 0.0;  // what the learner sent, over the bytes of the blobs
};

struct PublishBenchResult {
  uint64_t full_bytes = 0, delta_bytes = 0;
  double changed_share = 0.0;  // of the values
  double encode_seconds = 0.0, apply_seconds = 0.0, full_publish_seconds = 0.0, delta_publish_seconds = 0.0;
  double plain_tcp_gb_s = 0.0, full_broadcast_gb_s = 0.0;  // one sender, one receiver, over loopback
  std::map<int64_t, Broadcast> by_receivers;
};

// The model's bf16 weights become fp32 masters that lie anywhere in their rounding interval, as they do after many steps (on the bf16 grid
// itself, where a published model begins, hardly any value would change); then one whole step of AdamW on made-up text, whose first update
// moves every weight by the full learning rate: the most that any step changes.
Result<PublishBenchResult> PublishBench(const std::string& model_folder, const PublishBenchOptions& options);

}  // namespace candor
