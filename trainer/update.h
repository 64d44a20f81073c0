// The optimizer step over all slices of a ShardedPolicy: global norm, one verdict on all ranks, AdamW, averaged weights.
#pragma once
#include <string>

#include "trainer/options.h"
#include "trainer/sharded_policy.h"

namespace candor {

struct UpdateOutcome {
  double grad_norm = 0.0;  // before clipping; over the whole policy
  double clip_scale = 1.0;
  bool skipped = false;  // something was not finite: weights and optimizer state are as before
  int attempts = 1;      // how often the step was computed; set by the caller
  std::string why;       // names the rank of a loss or the unit of a gradient, the same on every rank
};

// `loss` is this rank's share; it is only looked at for being finite. kCollective: the master weights of a rank are not finite, before or
// after the update: they must not be published, and the learner has to start again from its checkpoint. A collective call.
Result<UpdateOutcome> ApplyUpdate(ShardedPolicy& policy, const AdamOptions& options, double lr, double ema_decay, double loss);

}  // namespace candor
