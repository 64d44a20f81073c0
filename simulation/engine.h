// The stand-in for the rollout engine: writes tokens at a steady pace, loads versions by waiting, and obeys the lease book.
#pragma once
#include <atomic>
#include <map>
#include <optional>
#include <string>

#include "rollout/link/lease_book.h"
#include "rollout/link/rollout_link.h"
#include "simulation/actors.h"

namespace candor::sim {

class Engine {
 public:
  Engine(Cluster& cluster, Clock& clock, std::string worker, LeaseBook& book, RolloutLink& link, const std::atomic<bool>& link_ended)
      : cluster_(cluster),
        clock_(clock),
        worker_(std::move(worker)),
        book_(book),
        link_(link),
        link_ended_(link_ended),
        dice_(cluster.settings.seed, 1000 + std::hash<std::string>{}(worker_) % 1000000 + static_cast<uint64_t>(clock.SteadyMs())) {}
  // Until the link says that the run is over, or has given up.
  void Run();

 private:
  struct Work {
    Lease lease;
    int64_t begun_ms = 0, done_ms = 0;
    uint64_t version = 0;
  };
  void Obey();
  void Advance();
  TraceGroup ResultOf(const Work& work) const;

  Cluster& cluster_;
  Clock& clock_;
  const std::string worker_;
  LeaseBook& book_;
  RolloutLink& link_;
  const std::atomic<bool>& link_ended_;
  Dice dice_;
  std::map<GroupId, Work> work_;
  std::optional<PolicyVersion> loaded_;
};

}  // namespace candor::sim
