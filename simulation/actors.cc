#include "simulation/actors.h"

#include <fmt/format.h>

#include "coordinator/server.h"
#include "rollout/link/rollout_link.h"
#include "simulation/engine.h"

namespace candor::sim {

namespace {
const std::atomic<bool> kNeverStops = false;
std::string ResultOf(const Status& status) { return status ? "ok" : status.error().Message(); }
}  // namespace

std::string RunCoordinator(Cluster& cluster, Process& process) {
  SimClock clock(cluster.scheduler, process);
  const std::unique_ptr<Transport> transport = cluster.net.TransportOf(process);
  CoordinatorOptions options;
  options.lease_timeout_s = cluster.swarm.lease_timeout_s;
  options.progress_timeout_s = cluster.swarm.progress_timeout_s;
  options.restart_grace_s = cluster.swarm.restart_grace_s;
  options.linger_s = 20;
  ServeHooks hooks;
  hooks.stop = &kNeverStops;
  hooks.transport = transport.get();
  hooks.clock = &clock;
  hooks.disk = &cluster.disk;
  hooks.stores = &cluster.stores;
  hooks.http = false;
  hooks.observe = [&](const CoordinatorState& state) {
    cluster.watch.OnCoordinatorStarts(process.name + "." + std::to_string(process.life), state.epoch());
    cluster.observe(state);
  };
  return ResultOf(ServeCoordinator(cluster.swarm.plan, options, kRunDir, hooks));
}

std::string RunRollout(Cluster& cluster, Process& process, uint64_t incarnation) {
  SimClock clock(cluster.scheduler, process);
  const std::unique_ptr<Transport> transport = cluster.net.TransportOf(process);
  LeaseBookOptions book_options;
  book_options.max_batch = 8;
  book_options.swap_in_flight = cluster.settings.seed % 2 == 0 && !cluster.swarm.plan.deterministic;
  LeaseBook book(book_options);
  RolloutLinkSetup setup;
  setup.run_dir = kRunDir, setup.run_id = cluster.swarm.plan.run_id, setup.worker = process.name.substr(0, process.name.find('~'));
  setup.steps = cluster.swarm.plan.steps;
  setup.incarnation = {incarnation};
  setup.transport = transport.get();
  setup.stop = &kNeverStops;
  setup.clock = &clock;
  setup.disk = &cluster.disk;
  setup.nap_ms = cluster.swarm.nap_ms;
  RolloutLink link(setup, book);
  std::atomic<bool> engine_ended = false, link_ended = false;
  Status link_status;
  cluster.scheduler.Spawn(process, [&] {
    link_status = link.Run(engine_ended);
    link_ended = true;
  });
  Engine(cluster, clock, setup.worker, book, link, link_ended).Run();
  engine_ended = true;
  while (!link_ended) clock.SleepMs(50);
  return ResultOf(link_status);
}

}  // namespace candor::sim
