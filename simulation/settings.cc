#include "simulation/settings.h"

#include <algorithm>

namespace candor::sim {

const char* Name(Sabotage sabotage) {
  static constexpr const char* kNames[] = {"none",        "ack_before_sync", "stale_epoch", "spool_before_sync", "version_unrecorded",
                                           "train_twice", "count_twice",     "forget_drops"};
  return kNames[static_cast<size_t>(sabotage)];
}

const char* Name(FaultKind kind) {
  static constexpr const char* kNames[] = {"kill",      "kill_at_point", "power_loss", "stop", "cut",         "disk_full",
                                           "wall_jump", "slow",          "flap",       "twin", "all_rollouts"};
  return kNames[static_cast<size_t>(kind)];
}

namespace {

RunPlan MakePlan(const SimSettings& settings, Dice& dice) {
  RunPlan plan;
  plan.run_id = "simulated";
  plan.steps = settings.steps;
  plan.prompts_per_step = settings.prompts_per_step ? settings.prompts_per_step
                          : settings.workers > 16   ? std::max(8u, settings.workers / 8)
                                                    : 2 + static_cast<uint32_t>(dice.Bits() % 4);
  plan.group_size = 2;
  plan.greedy_traces = static_cast<uint32_t>(dice.Bits() % 2);
  plan.staleness = dice.Bits() % 3;
  plan.deterministic = dice.Chance(0.2);
  plan.seed = settings.seed;
  plan.datasets = {{"train", 61, 1.0}, {"more", 17, 0.5}};
  if (dice.Chance(0.6)) plan.evals = {{"dev", 3, 1 + settings.steps / 3}};
  return plan;
}

// From numbers of its own, so that a seed has the same faults with and without it.
CurriculumPlan MakeCurriculum(const SimSettings& settings) {
  Dice dice(settings.seed, 4);
  CurriculumPlan plan;
  plan.skip = dice.Chance(0.6);
  plan.retire_at = dice.Chance(0.6) ? 0.5 + 0.5 * dice.Unit() : 0.0;
  plan.retired_share = dice.Chance(0.3) ? 0.0 : dice.Unit();
  plan.fill_batches = dice.Chance(0.5) ? 1000 : 1;  // as many as it takes: half of the groups do not vary
  return plan;
}

void PlanFaults(const SimSettings& settings, Dice& dice, Swarm& swarm) {
  std::vector<FaultKind> kinds;
  for (int kind = 0; kind < kFaultKinds; ++kind)
    if (dice.Chance(0.45)) kinds.push_back(static_cast<FaultKind>(kind));
  if (kinds.empty()) kinds.push_back(FaultKind::kKill);
  const int64_t gap_ms = dice.Between(800, 12000);
  for (int64_t at = dice.Between(0, gap_ms); at < swarm.heal_ms; at += dice.Between(1, 2 * gap_ms)) {
    const FaultKind kind = kinds[dice.Bits() % kinds.size()];
    const uint64_t bits = dice.Bits();
    if (!settings.without.count(swarm.faults.size()))
      swarm.faults.push_back({at, kind, bits});
    else
      swarm.faults.push_back({-1, kind, bits});
  }
}

}  // namespace

Swarm MakeSwarm(const SimSettings& settings) {
  Dice dice(settings.seed, 3);
  Swarm swarm;
  swarm.plan = MakePlan(settings, dice);
  if (settings.curriculum) swarm.plan.curriculum = MakeCurriculum(settings);
  const uint32_t workers = std::max(2u, settings.workers);
  swarm.rewards = settings.workers > 16 ? std::max(2u, workers / 50) : 1 + static_cast<uint32_t>(dice.Bits() % std::min(3u, workers / 2));
  swarm.rollouts = workers - swarm.rewards;
  swarm.token_ms = dice.Between(5, 60);
  swarm.load_ms = dice.Between(5, 400);
  swarm.learn_ms = dice.Between(20, 500);
  swarm.verify_ms = dice.Between(1, 200);
  swarm.lease_timeout_s = static_cast<double>(dice.Between(3, 12));
  swarm.progress_timeout_s = swarm.lease_timeout_s * static_cast<double>(dice.Between(2, 6));
  swarm.restart_grace_s = dice.Unit() * 2;
  swarm.checkpoint_every = 1 + dice.Bits() % 8;
  swarm.remade_differs = dice.Chance(0.5);
  swarm.nap_ms = settings.workers > 16 ? 500 : 200;  // coarser than the product's: what is polled costs most of a simulation
  // A step takes about as long as its longest group and the learning; faults go on through most of the run.
  const int64_t step_ms = swarm.learn_ms + 40 * swarm.token_ms + 300;
  swarm.heal_ms = static_cast<int64_t>(settings.steps) * step_ms;
  swarm.bound_ms = swarm.heal_ms + 120000 + static_cast<int64_t>(settings.steps) * (8 * step_ms + 2000);
  if (!settings.faults) return swarm;
  auto maybe = [&](double most) { return dice.Chance(0.5) ? most * dice.Unit() : 0.0; };
  swarm.net = {maybe(0.2), maybe(0.3), maybe(0.15), dice.Between(50, 4000)};
  swarm.load_fails = maybe(0.1);
  swarm.lost_in_disk = maybe(0.02);
  swarm.die_at_disk = maybe(0.002);
  PlanFaults(settings, dice, swarm);
  return swarm;
}

}  // namespace candor::sim
