#include "simulation/world.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/fault_point.h"

namespace candor::sim {

namespace {
constexpr int64_t kRestartMs = 700;  // the supervisor's pause before it starts a process again
constexpr uint64_t kProgressEvery = 4096;
World* g_world = nullptr;  // whose fault points are visited: one simulation runs in one thread
}  // namespace

World::World(const SimSettings& settings)
    : settings_(settings),
      swarm_(MakeSwarm(settings)),
      net_(scheduler_, settings.seed),
      disk_(settings.seed),
      watch_(swarm_.plan, disk_),
      cluster_{settings_, swarm_, scheduler_, net_, disk_, stores_, watch_, {}, {}},
      dice_(settings.seed, 4) {
  for (const DatasetPlan& set : swarm_.plan.datasets) cluster_.data[set.name].rows.resize(set.rows);
  for (const EvalPlan& eval : swarm_.plan.evals) cluster_.data[eval.name].rows.resize(eval.rows);
  net_.faults = swarm_.net;
  AddPlace(
      "coordinator", [this](Process& p, uint64_t) { return RunCoordinator(cluster_, p); }, "");
  for (uint32_t i = 0; i < swarm_.rewards; ++i)
    AddPlace(
        fmt::format("reward-{}", i), [this](Process& p, uint64_t life) { return RunReward(cluster_, p, life); },
        fmt::format("{}/spool/reward-{}", kRunDir, i));
  for (uint32_t i = 0; i < swarm_.rollouts; ++i)
    AddPlace(
        fmt::format("rollout-{}", i), [this](Process& p, uint64_t life) { return RunRollout(cluster_, p, life); }, "");
  AddPlace(
      "trainer-0", [this](Process& p, uint64_t life) { return RunTrainer(cluster_, p, life); }, fmt::format("{}/checkpoints", kRunDir));
  InstallHooks();
  InstallSabotage();
}

World::~World() {
  for (auto& process : processes_)
    if (!process->dead) {
      scheduler_.on_end = nullptr;
      scheduler_.Kill(*process);
    }
  if (g_world == this) {
    g_world = nullptr;
    SetFaultVisitor(nullptr);
  }
}

void World::AddPlace(const std::string& name, std::function<std::string(Process&, uint64_t)> body, const std::string& folder) {
  places_.push_back(std::make_unique<Place>(Place{name, std::move(body), folder}));
}

void World::InstallHooks() {
  g_world = this;
  SetFaultVisitor([](const char* point) { return g_world->VisitPoint(point); });
  scheduler_.on_end = [this](Process& process) { OnEnd(process); };
  net_.watch.received = [this](const Process& p, const IncomingMessage& m) { watch_.OnReceived(p, m); };
  net_.watch.replied = [this](const Process& p, const std::string& peer, const std::string& body) { watch_.OnReplied(p, peer, body); };
  net_.watch.delivered = [this](const std::string& from, const std::string& to, const std::string& body) {
    const std::hash<std::string> hash;
    for (uint64_t part : {static_cast<uint64_t>(scheduler_.now()), hash(from), hash(to), hash(body)})
      outcome_.trace_hash = SplitMix64(outcome_.trace_hash ^ part);
  };
  cluster_.observe = [this](const CoordinatorState& state) {
    watch_.OnState(state);
    if (!healed_ || scheduler_.now() < waiting_due_) return;
    waiting_due_ = scheduler_.now() + 1000;  // of a thousand workers it is a long text
    waiting_.clear();
    for (const auto& [who, what] : state.waiting()) waiting_ += fmt::format("{} waits for {}; ", who, what.what);
  };
  disk_.before = [this](const char* operation, const std::string& path) -> Status {
    if (scheduler_.current() == nullptr || healed_) return {};
    if (dice_.Chance(swarm_.die_at_disk)) scheduler_.Die();
    if (dice_.Chance(swarm_.lost_in_disk)) return Fail(ErrorCode::kIo, std::string("input/output error: ") + operation, path);
    for (const auto& [folder, until] : full_until_)
      if (scheduler_.now() < until && path.starts_with(folder)) return Fail(ErrorCode::kIo, "no space left on the device", path);
    return {};
  };
  stores_.before = [this]() -> Status {
    if (healed_ || scheduler_.current() == nullptr) return {};
    if (dice_.Chance(swarm_.die_at_disk)) scheduler_.Die();
    if (auto full = full_until_.find("ledger"); full != full_until_.end() && scheduler_.now() < full->second)
      return Fail(ErrorCode::kIo, "no space left on the device", "ledger");
    return {};
  };
  stores_.after = [this](const std::string& folder, const StoreBatch& batch) {
    watch_.OnStoreWrite(folder, batch);
    if (!healed_ && scheduler_.current() && dice_.Chance(swarm_.die_at_disk)) scheduler_.Die();  // durable, never acknowledged
  };
}

void World::InstallSabotage() {
  const std::string records = "l";
  auto kind_of = [](const std::string& key, const std::string& value) { return key.size() == 9 && key[0] == 'l' ? value[0] : '\0'; };
  switch (settings_.sabotage) {
    case Sabotage::kNone:
      break;
    case Sabotage::kAckBeforeSync:
      stores_.sabotage_no_sync = true;
      break;
    case Sabotage::kStaleEpoch:
      disk_.sabotage_blind_to_epochs = true;
      break;
    case Sabotage::kSpoolBeforeSync:
      disk_.sabotage_no_sync = "/spool/";
      break;
    case Sabotage::kVersionUnrecorded:  // kind 4 becomes a record that says nothing of a version
      stores_.sabotage = [kind_of](StoreBatch& batch) {
        for (auto& [key, value] : batch.puts)
          if (kind_of(key, value) == 4) value = EncodeRecord(PlanVoided{{0}, {0}, "lost"});
      };
      break;
    case Sabotage::kTrainTwice:  // a step's record stands in the place of the next group's
      stores_.sabotage = [kind_of, last = std::make_shared<std::string>()](StoreBatch& batch) {
        for (auto& [key, value] : batch.puts) {
          if (kind_of(key, value) == 8)
            *last = value;
          else if (kind_of(key, value) == 1 && !last->empty())
            value = std::exchange(*last, "");
        }
      };
      break;
    case Sabotage::kCountTwice:
      stores_.sabotage = [](StoreBatch& batch) {
        const size_t count = batch.puts.size();
        for (size_t i = 0; i < count; ++i) {
          auto [key, value] = batch.puts[i];
          if (key[0] != 's') continue;
          key.back() = static_cast<char>(key.back() ^ 0x40);
          batch.puts.emplace_back(key, value);
        }
      };
      break;
    case Sabotage::kForgetDrops:
      stores_.sabotage = [kind_of](StoreBatch& batch) {
        for (auto& [key, value] : batch.puts)
          if (kind_of(key, value) == 2) value = EncodeRecord(PlanVoided{{0}, {0}, "lost"});
      };
      break;
  }
}

void World::Start(Place& place) {
  processes_.push_back(std::make_unique<Process>());
  Process& process = *processes_.back();
  process.name = place.name;
  process.life = ++place.lives;
  process.steady_offset_ms = dice_.Between(0, 1000000);
  process.wall_offset_ms = 1700000000000 + dice_.Between(-3600000, 3600000);
  place.process = &process;
  if (place.name == "coordinator") ++outcome_.coordinators;
  const uint64_t incarnation = 1 + dice_.Bits() / 2;
  scheduler_.Spawn(process, [&process, &place, incarnation] { process.result = place.body(process, incarnation); });
}

void World::OnEnd(Process& process) {
  for (auto& place : places_) {
    if (place->process != &process) continue;
    place->process = nullptr;
    if (process.result == "ok") {
      place->finished = true;
      return;
    }
    ++outcome_.deaths;
    Tell(fmt::format("{} ended: {}", process.name, process.result));
    if (place->twin) {
      place->finished = true;
      return;
    }
    scheduler_.At(scheduler_.now() + kRestartMs, [this, at = place.get()] {
      if (!at->process) Start(*at);
    });
  }
}

bool World::VisitPoint(const char* point) {
  Task* task = scheduler_.current();
  if (!task || healed_ || doomed_.empty() || !doomed_.count(task->process.name)) return false;
  doomed_.erase(task->process.name);
  Tell(fmt::format("{} dies at {}", task->process.name, point));
  scheduler_.Die();
}

void World::Tell(const std::string& what) {
  if (outcome_.story.size() < 2000)
    outcome_.story.push_back(fmt::format("{:9.3f} s  {}", static_cast<double>(scheduler_.now()) / 1000, what));
}

bool World::Over() const {
  return std::all_of(places_.begin(), places_.end(), [](const auto& place) { return place->finished; });
}

std::string World::WhoWaits() const {
  std::string text = fmt::format("step {} of {} after {} s; ", watch_.last_step(), swarm_.plan.steps, scheduler_.now() / 1000) + waiting_;
  for (const auto& place : places_)
    if (!place->finished) text += place->name + (place->process ? " runs; " : " is down; ");
  return text;
}

SimOutcome World::Run(const std::function<bool(uint64_t, uint64_t)>& progress) {
  outcome_.seed = settings_.seed;
  for (auto& place : places_) Start(*place);
  for (size_t i = 0; i < swarm_.faults.size(); ++i)
    if (swarm_.faults[i].at_ms >= 0) scheduler_.At(swarm_.faults[i].at_ms, [this, i] { Inject(swarm_.faults[i], i); });
  scheduler_.At(swarm_.heal_ms, [this] { Heal(); });
  bool given_up = false;
  while (watch_.failure().empty() && !Over() && scheduler_.now() < swarm_.bound_ms && !given_up) {
    if (!scheduler_.RunOne()) break;
    if (progress && scheduler_.events() % kProgressEvery == 0) given_up = !progress(watch_.last_step(), swarm_.plan.steps);
  }
  if (watch_.failure().empty() && !Over()) watch_.Complain((given_up ? "given up: " : "not live: ") + WhoWaits());
  if (watch_.failure().empty()) {
    Result<std::unique_ptr<Store>> newest = stores_.OpenAsReader(fmt::format("{}/ledger/{}", kRunDir, watch_.current_epoch()));
    if (newest)
      watch_.AtEnd(**newest);
    else
      watch_.Complain("there is no ledger at the end");
  }
  outcome_.failure = watch_.failure();
  outcome_.events = scheduler_.events();
  outcome_.messages = net_.messages();
  outcome_.leases = watch_.leases();
  outcome_.records = watch_.records();
  outcome_.steps = watch_.last_step();
  outcome_.simulated_ms = scheduler_.now();
  watch_.CountLengths(outcome_.issued_by_length, outcome_.trained_by_length);
  return outcome_;
}

SimSettings Shrink(SimSettings settings, int tries) {
  const size_t faults = MakeSwarm(settings).faults.size();
  // Halves first, then quarters, down to single faults.
  for (size_t width = std::max<size_t>(1, faults / 2); tries > 0; width /= 2) {
    for (size_t begin = 0; begin < faults && tries > 0; begin += width) {
      SimSettings fewer = settings;
      for (size_t i = begin; i < std::min(faults, begin + width); ++i) fewer.without.insert(i);
      if (fewer.without.size() == settings.without.size()) continue;
      --tries;
      if (!Simulate(fewer).failure.empty()) settings = fewer;
    }
    if (width == 1) break;
  }
  return settings;
}

double LengthBiasP(const std::vector<uint64_t>& issued, const std::vector<uint64_t>& trained) {
  double n = 0, m = 0;
  for (uint64_t count : issued) n += static_cast<double>(count);
  for (uint64_t count : trained) m += static_cast<double>(count);
  if (n == 0 || m == 0) return 1;
  double below_n = 0, below_m = 0, distance = 0;
  for (size_t i = 0; i < issued.size() && i < trained.size(); ++i) {
    below_n += static_cast<double>(issued[i]) / n, below_m += static_cast<double>(trained[i]) / m;
    distance = std::max(distance, std::fabs(below_n - below_m));
  }
  const double scale = std::sqrt(n * m / (n + m));
  const double lambda = (scale + 0.12 + 0.11 / scale) * distance;
  double p = 0;
  for (int k = 1; k <= 100; ++k) p += 2 * (k % 2 ? 1 : -1) * std::exp(-2 * lambda * lambda * k * k);
  return lambda < 0.2 ? 1 : std::clamp(p, 0.0, 1.0);
}

}  // namespace candor::sim
