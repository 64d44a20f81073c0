// The bodies of the simulated processes: the product's own code for everything that is said, kept and decided (ServeCoordinator,
// RolloutLink and LeaseBook, RewardServer, CoordinatorLink and Spool, LearnerDialogue), with stand-ins for what costs time: an engine that
// writes tokens, a verifier that judges, a learner that learns by waiting. Each returns "ok" or why the process ends.
#pragma once
#include <atomic>
#include <functional>
#include <map>
#include <string>

#include "simulation/disk.h"
#include "simulation/net.h"
#include "simulation/scheduler.h"
#include "simulation/settings.h"
#include "simulation/stores.h"
#include "simulation/watch.h"
#include "text/rows.h"

namespace candor::sim {

inline constexpr char kRunDir[] = "run";

// What all bodies share.
struct Cluster {
  const SimSettings& settings;
  const Swarm& swarm;
  Scheduler& scheduler;
  Net& net;
  SimDisk& disk;
  SimStores& stores;
  Watch& watch;
  std::map<std::string, DataSet> data;
  std::function<void(const CoordinatorState&)> observe;
};

std::string RunCoordinator(Cluster& cluster, Process& process);
std::string RunRollout(Cluster& cluster, Process& process, uint64_t incarnation);
std::string RunReward(Cluster& cluster, Process& process, uint64_t incarnation);
std::string RunTrainer(Cluster& cluster, Process& process, uint64_t incarnation);

}  // namespace candor::sim
