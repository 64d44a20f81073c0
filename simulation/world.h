// One simulated run from one seed: processes, their supervisor, faults, and the watch. First comes safety (faults of every chosen kind),
// then liveness: everything is healed, and the run must finish within a bound.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "simulation/actors.h"
#include "simulation/settings.h"

namespace candor::sim {

struct SimOutcome {
  uint64_t seed = 0;
  std::string failure;  // "": all invariants held and the run finished
  uint64_t trace_hash = 0;
  uint64_t events = 0, messages = 0, leases = 0, records = 0, steps = 0;
  uint64_t faults = 0, deaths = 0, coordinators = 0;
  int64_t simulated_ms = 0;
  std::vector<uint64_t> issued_by_length, trained_by_length;
  std::vector<std::string> story;  // what was done to the run, in order
};

class World {
 public:
  explicit World(const SimSettings& settings);
  ~World();
  // `progress` is called about once in a few thousand events with (steps done, steps); it returns false to give up.
  SimOutcome Run(const std::function<bool(uint64_t, uint64_t)>& progress = {});

 private:
  struct Place {  // a process that the supervisor keeps alive
    std::string name;
    std::function<std::string(Process&, uint64_t incarnation)> body;
    std::string folder;  // what its machine holds
    Process* process = nullptr;
    uint64_t lives = 0;
    bool finished = false, twin = false;
  };
  void AddPlace(const std::string& name, std::function<std::string(Process&, uint64_t)> body, const std::string& folder);
  void Start(Place& place);
  void OnEnd(Process& process);
  void InstallSabotage();
  void InstallHooks();
  bool VisitPoint(const char* point);
  // faults.cc
  void Inject(const PlannedFault& fault, size_t index);
  void HitProcess(const PlannedFault& fault, Place& place);
  void KillPlace(Place& place, bool power_loss);
  void StopPlace(Place& place, int64_t for_ms);
  void AddTwin(Place& place);
  void Heal();
  std::string WhoWaits() const;
  void Tell(const std::string& what);
  bool Over() const;

  const SimSettings settings_;
  const Swarm swarm_;
  Scheduler scheduler_;
  Net net_;
  SimDisk disk_;
  SimStores stores_;
  Watch watch_;
  Cluster cluster_;
  Dice dice_;
  std::vector<std::unique_ptr<Place>> places_;
  std::vector<std::unique_ptr<Process>> processes_;  // of all lives
  std::map<std::string, int64_t> full_until_;        // by folder
  std::set<std::string> doomed_;                     // dies at its next point
  std::string waiting_;                              // who waits for what, as the coordinator said within the last second
  int64_t waiting_due_ = 0;                          // when it says so again
  SimOutcome outcome_;
  bool healed_ = false;
};

inline SimOutcome Simulate(const SimSettings& settings, const std::function<bool(uint64_t, uint64_t)>& progress = {}) {
  return World(settings).Run(progress);
}

// Leaves out planned faults one by one for as long as the run still fails; the fewest that were found.
SimSettings Shrink(SimSettings settings, int tries);

// Kolmogorov-Smirnov: is the length of trained groups distributed as that of issued ones? The p-value (Smirnov's series).
double LengthBiasP(const std::vector<uint64_t>& issued, const std::vector<uint64_t>& trained);

}  // namespace candor::sim
