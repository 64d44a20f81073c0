// What one simulated run is: its size, its seed, and what the seed chose (the swarm: each seed has some kinds of faults and not others).
#pragma once
#include <cstdint>
#include <set>
#include <string>
#include <vector>

#include "coordinator/run_plan.h"
#include "simulation/dice.h"
#include "simulation/net.h"

namespace candor::sim {

// Deliberately broken rules: each must be caught by some seed.
enum class Sabotage : uint8_t {
  kNone = 0,
  kAckBeforeSync,      // the ledger acknowledges batches that a power failure takes back
  kStaleEpoch,         // a replaced coordinator does not see the newer epoch
  kSpoolBeforeSync,    // a reward worker acknowledges groups that are not on the medium
  kVersionUnrecorded,  // a policy version is handed out that the ledger does not hold
  kTrainTwice,         // a step is entered twice
  kCountTwice,         // an observation is recorded under two keys
  kForgetDrops,        // a dropped group is not entered
};
inline constexpr int kSabotages = 8;
const char* Name(Sabotage sabotage);

enum class FaultKind : uint8_t {
  kKill = 0,     // one process
  kKillAtPoint,  // one process, when it next passes a moment of its work
  kPowerLoss,    // one machine: what was not synced is gone
  kStop,         // SIGSTOP for a while
  kCut,          // nothing passes between one process and the others, one way or both
  kDiskFull,     // for a while
  kWallJump,     // of an hour, or 262 s, to and fro
  kSlow,         // one process waits longer for everything
  kFlap,         // one worker dies again and again
  kTwin,         // a second process with the same name
  kAllRollouts,  // every rollout worker at once
};
inline constexpr int kFaultKinds = 11;
const char* Name(FaultKind kind);

struct PlannedFault {
  int64_t at_ms = 0;
  FaultKind kind = FaultKind::kKill;
  uint64_t bits = 0;  // whom, how long
};

struct SimSettings {
  uint64_t seed = 1;
  uint32_t workers = 8;  // rollouts and rewards together
  uint64_t steps = 50;
  uint32_t prompts_per_step = 0;  // 0: as fits the workers
  bool faults = true;
  bool curriculum = false;  // the seed also chooses skips, retirement and filled steps
  Sabotage sabotage = Sabotage::kNone;
  std::set<size_t> without;  // planned faults that are left out (shrinking)
};

// Everything that follows from the settings before the run begins.
struct Swarm {
  RunPlan plan;
  uint32_t rollouts = 1, rewards = 1;
  NetFaults net;
  std::vector<PlannedFault> faults;
  int64_t heal_ms = 0;   // no faults from here on
  int64_t bound_ms = 0;  // by then the run is over, else it is not live
  double lease_timeout_s = 5, progress_timeout_s = 20, restart_grace_s = 1;
  int64_t token_ms = 20;  // a simulated engine's pace
  int64_t load_ms = 100, learn_ms = 300, verify_ms = 50;
  double load_fails = 0, lost_in_disk = 0, die_at_disk = 0;
  uint64_t checkpoint_every = 5;
  int nap_ms = 20;
  bool remade_differs = false;  // a version that is learned again has other bytes
};
Swarm MakeSwarm(const SimSettings& settings);

}  // namespace candor::sim
