// The coordinator as a process: one thread owns the control socket and the state; what its rules decide is made durable, then answered.
// HTTP has threads of its own and reads snapshots. Crash-only: whatever goes wrong with the ledger ends the process, and the next
// incarnation goes on from it.
#pragma once
#include <atomic>
#include <functional>
#include <string>

#include "coordinator/options.h"
#include "coordinator/run_plan.h"
#include "coordinator/state.h"
#include "coordinator/store.h"
#include "core/clock.h"
#include "core/disk.h"
#include "core/result.h"
#include "core/transport.h"

namespace candor {

struct ServeHooks {
  const std::atomic<bool>* stop = nullptr;  // set by SIGTERM: finish what is at hand and return
  Transport* transport = nullptr;           // null: ZeroMQ with the run's keys
  std::string state_dir = "";               // of the ledger and the epochs; "" = the run's folder
  Clock* clock = &SystemClock::Get();
  Disk* disk = &SystemDisk();
  StoreHome* stores = &RocksStores();
  bool http = true;
  std::function<void(const CoordinatorState&)> observe = {};  // after every commit, before the replies go out (the simulation's checks)
};

// Runs until stopped, or until the run is finished and nobody has spoken for linger_s. RUN_DIR must hold keys/ (core/transport.h). Writes
// RUN_DIR/endpoint.<epoch> (JSON {epoch, endpoint, http}) when it is ready, ledger/<epoch>/, metrics.jsonl and evals.jsonl. kUnavailable
// when a newer coordinator has taken over.
Status ServeCoordinator(const RunPlan& plan, const CoordinatorOptions& options, const std::string& run_dir, const ServeHooks& hooks = {});

}  // namespace candor
