// The reward role: takes trace groups from rollout workers, verifies and scores them, keeps them on disk, tells the coordinator, and serves
// them to trainer ranks.
//
//   server thread       TraceGroup (rollout) → GroupSpooled once the group is on disk · FetchGroup (trainer) → ScoredGroup
//   grading threads     one trace at a time (grading_pool.h)
//   coordinator thread  Hello, GroupScored until acknowledged (coordinator_link.h)
//
// Backpressure: with max_in_flight groups in hand, or when the disk refuses, a group gets no answer; its sender keeps it and sends it
// again. What can never be taken (an unknown row, broken arrays) is refused with an Error. Before a GroupSpooled the group is nowhere but
// with its sender; after it, it survives any crash here.
#pragma once
#include <atomic>
#include <map>
#include <string>

#include "core/result.h"
#include "core/transport.h"
#include "reward/options.h"
#include "text/rows.h"
#include "text/tags.h"

namespace candor {

struct RewardSetup {
  std::string run_dir;
  std::string run_id;  // messages of another run are refused; "" takes any
  uint64_t steps = 0;  // of the run; 0: only the coordinator can say that it is over
  int index = 0;       // this worker is "reward-<index>"
  TagFormat format;
  std::vector<std::string> channels;           // what the recipe's objectives read
  std::vector<std::string> values;             // what their policy gradients learn from
  std::map<std::string, const DataSet*> data;  // by PromptRef::dataset; must outlive the call
  Transport* transport = nullptr;
  const std::atomic<bool>* stop = nullptr;  // set by a signal handler: finish what is in hand, then return
  int backoff_first_ms = 1000;              // tests hurry: these two say how the coordinator's absence is met (coordinator_link.h)
  int call_deadline_ms = 2000;
};

// Until stop, or until the coordinator says that the run is finished. Errors: options that do not hold together, a folder that cannot be
// written, an address that cannot be bound.
Status ServeReward(const RewardOptions& options, const RewardSetup& setup);

}  // namespace candor
