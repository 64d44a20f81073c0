// What is done to a simulated run, and how it is healed.
#include <fmt/format.h>

#include <algorithm>

#include "simulation/world.h"

namespace candor::sim {

namespace {
constexpr int64_t kHourMs = 3600000, kBumpMs = 262000;
}

void World::Inject(const PlannedFault& fault, size_t index) {
  if (healed_) return;
  ++outcome_.faults;
  Place& place = *places_[fault.bits % places_.size()];
  Tell(fmt::format("fault {}: {} at {}", index, Name(fault.kind), place.name));
  if (fault.kind == FaultKind::kAllRollouts) {
    for (auto& each : places_)
      if (each->name.starts_with("rollout")) KillPlace(*each, false);
    return;
  }
  if (fault.kind == FaultKind::kDiskFull) {
    const std::string folder = fault.bits % 3 == 0 ? "ledger" : fmt::format("{}/spool/reward-{}", kRunDir, fault.bits / 3 % swarm_.rewards);
    full_until_[folder] = scheduler_.now() + 200 + static_cast<int64_t>(fault.bits / 7 % 8000);
    return;
  }
  HitProcess(fault, place);
}

void World::HitProcess(const PlannedFault& fault, Place& place) {
  const int64_t span_ms = 100 + static_cast<int64_t>(fault.bits / 11 % 20000);
  switch (fault.kind) {
    case FaultKind::kKill:
      return KillPlace(place, false);
    case FaultKind::kPowerLoss:
      return KillPlace(place, true);
    case FaultKind::kKillAtPoint:
      doomed_.insert(place.name);
      return;
    case FaultKind::kStop:
      return StopPlace(place, span_ms);
    case FaultKind::kCut:
      if (fault.bits / 5 % 3 != 1) net_.Cut(place.name, "*", scheduler_.now() + span_ms);
      if (fault.bits / 5 % 3 != 2) net_.Cut("*", place.name, scheduler_.now() + span_ms);
      return;
    case FaultKind::kWallJump:
      if (place.process) place.process->wall_offset_ms += fault.bits / 3 % 2 ? kHourMs * (fault.bits / 5 % 2 ? 1 : -1) : -kBumpMs;
      return;
    case FaultKind::kSlow:
      if (place.process) place.process->slowness = 2 + static_cast<double>(fault.bits / 13 % 10);
      return;
    case FaultKind::kFlap:
      for (int64_t i = 0; i < 6; ++i)
        scheduler_.At(scheduler_.now() + i * 900, [this, at = &place] {
          if (!healed_) KillPlace(*at, false);
        });
      return;
    case FaultKind::kTwin:
      return AddTwin(place);
    case FaultKind::kDiskFull:
    case FaultKind::kAllRollouts:
      return;
  }
}

void World::KillPlace(Place& place, bool power_loss) {
  if (place.process) scheduler_.Kill(*place.process);
  if (!power_loss) return;
  if (!place.folder.empty()) disk_.LosePower(place.folder);
  if (place.name == "coordinator") {
    disk_.LosePower(kRunDir);
    stores_.LosePower();
  }
}

void World::StopPlace(Place& place, int64_t for_ms) {
  if (!place.process || place.process->stopped) return;
  Process* process = place.process;
  scheduler_.Stop(*process);
  scheduler_.At(scheduler_.now() + for_ms, [this, process] {
    if (!process->dead && process->stopped) scheduler_.Continue(*process);
  });
}

// A second process of the same name, as when a scheduler runs one job twice. Nobody starts it again.
void World::AddTwin(Place& place) {
  if (place.twin || places_.size() > 4096) return;
  places_.push_back(std::make_unique<Place>(Place{place.name, place.body, place.folder}));
  Place& twin = *places_.back();
  twin.twin = true;
  twin.lives = 1000 * places_.size();
  Start(twin);
}

void World::Heal() {
  Tell("healed");
  healed_ = true;
  net_.Heal();
  doomed_.clear();
  full_until_.clear();
  for (auto& place : places_) {
    if (!place->process) continue;
    place->process->slowness = 1;
    if (place->process->stopped) scheduler_.Continue(*place->process);
  }
}

}  // namespace candor::sim
