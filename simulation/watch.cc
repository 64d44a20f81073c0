#include "simulation/watch.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "coordinator/record.h"

namespace candor::sim {

namespace {
constexpr uint64_t kBooksEvery = 64;      // states between two looks at everything, in a small run
constexpr size_t kSmall = 4000;           // groups
constexpr uint64_t kMostFilled = 64;      // batches of a step whose groups half the time do not vary: more never come by chance
constexpr uint64_t kStepsPerBalance = 5;  // the whole ledger is added up again

uint64_t EpochOfFolder(const std::string& folder) { return std::stoull(folder.substr(folder.rfind('/') + 1)); }
}  // namespace

uint32_t LengthOf(uint64_t seed, GroupId id) {
  const double u = RandomUnit(seed, RngStream::kSynthetic, 77, id.value);
  return 1 + static_cast<uint32_t>(u * u * (kLengthMax - 1));  // many short ones, a long tail
}

// --- the stores -----------------------------------------------------------------------------------------------------------------------

void Watch::OnStoreWrite(const std::string& folder, const StoreBatch& batch) {
  const uint64_t epoch = EpochOfFolder(folder);
  Lane& lane = lanes_[epoch];
  bool completes = false;
  for (const auto& [key, value] : batch.puts) {
    if (key == "c") completes = true;
    if (key.size() != 9 || key[0] != 'l') continue;
    const uint64_t number = ReadBigEndian(std::string_view(key).substr(1));
    if (epoch == current_) {
      if (number != ledger_.size()) return Complain(fmt::format("record {} is written where {} comes next", number, ledger_.size()));
      TakeRecord(value, true);
    } else if (!lane.complete && number < ledger_.size() && ledger_[number] != value) {
      Complain(fmt::format("the clone of epoch {} holds another record {}", epoch, number));
    }
    lane.records = number + 1;
  }
  if (completes && !lane.complete) {
    lane.complete = true;
    if (epoch > current_) Switch(epoch);
  }
}

// A newer incarnation has its own store: what its clone lacks was never acknowledged, or is lost.
void Watch::Switch(uint64_t epoch) {
  const uint64_t kept = lanes_[epoch].records;
  current_ = epoch;
  if (acknowledged_ > kept) return Complain(fmt::format("{} acknowledged records are lost in epoch {}", acknowledged_ - kept, epoch));
  if (kept >= ledger_.size()) return;
  ledger_.resize(kept);
  auditor_ = std::make_unique<Auditor>(plan_);
  versions_.clear(), observed_.clear(), outcome_.clear(), plans_.clear(), steps_ever_.clear();
  last_step_ = covered_ = checkpointed_ = 0;
  std::vector<std::string> all = std::move(ledger_);
  ledger_.clear();
  for (const std::string& bytes : all) TakeRecord(bytes, false);
}

void Watch::TakeRecord(const std::string& bytes, bool first_time) {
  ledger_.push_back(bytes);
  Result<LedgerRecord> record = DecodeRecord(bytes);
  if (!record) return Complain("a record cannot be read again: " + record.error().Message());
  auditor_->Add(*record);
  Feed(*record);
  auto* done = std::get_if<StepDone>(&*record);
  if (first_time && done && (done->report.step.value % kStepsPerBalance == 0 || done->report.step.value == plan_.steps)) CheckBooks();
}

void Watch::Feed(const LedgerRecord& record) {
  if (auto* r = std::get_if<GroupScored>(&record)) {
    if (!outcome_.insert(r->group).second) Complain(fmt::format("group {} has two outcomes", r->group.value));
    observed_[r->group] = r->correct + r->wrong;
    if (!versions_.count(r->newest_version.value)) Complain(fmt::format("group {} was written by an unknown version", r->group.value));
  } else if (auto* d = std::get_if<GroupDropped>(&record)) {
    outcome_.insert(d->group);
  } else if (auto* o = std::get_if<GroupReopened>(&record)) {
    outcome_.erase(o->group), observed_.erase(o->group);
  } else if (auto* v = std::get_if<VersionAnnounce>(&record)) {
    if (v->info.version.value > last_step_ + 1) Complain(fmt::format("version {} before step {}", v->info.version.value, last_step_));
    versions_[v->info.version.value].insert(v->info.hash);
  } else if (auto* p = std::get_if<PlanLogged>(&record)) {
    std::vector<GroupId>& groups = plans_[p->plan.step.value];
    groups.clear();
    for (const PlannedGroup& group : p->plan.groups) groups.push_back(group.group);
  } else if (auto* t = std::get_if<TrainerStarted>(&record)) {
    const uint64_t before = t->step.value - 1;
    for (uint64_t step = t->step.value; step <= std::min(last_step_, covered_); ++step)
      for (GroupId group : plans_[step]) outcome_.erase(group), observed_.erase(group);  // their payloads were let go: generated again
    if (t->step.value <= covered_) {                                                     // newer versions are made and evaluated anew
      const auto anew = [&](GroupId id) { return IsEvalGroup(id) && EvalVersionOf(id).value > before; };
      std::erase_if(outcome_, anew);
      std::erase_if(observed_, [&](const auto& one) { return anew(one.first); });
    }
    last_step_ = std::min(last_step_, before), covered_ = std::min(covered_, before), checkpointed_ = std::min(checkpointed_, before);
  } else if (auto* c = std::get_if<CheckpointDone>(&record)) {
    checkpointed_ = std::max(checkpointed_, c->step.value);
    covered_ = std::max(covered_, c->step.value - std::min(c->step.value, c->replayable_steps));
  } else if (std::holds_alternative<RunFinished>(record)) {
    if (last_step_ >= plan_.steps) covered_ = std::max(covered_, checkpointed_);
  } else if (auto* s = std::get_if<StepDone>(&record)) {
    last_step_ = s->report.step.value;
    furthest_ = std::max(furthest_, last_step_);
    steps_ever_.insert(last_step_);
  }
}

void Watch::CheckBooks() {
  const Balance balance = auditor_->Result();
  if (!balance.Balances()) Complain(balance.violations.empty() ? "the books do not balance" : balance.violations[0]);
}

// --- the messages ---------------------------------------------------------------------------------------------------------------------

void Watch::OnReceived(const Process& server, const IncomingMessage& incoming) {
  if (server.name != "coordinator") return;
  if (incoming.role != Role::kReward && incoming.role != Role::kTrainer) return;
  const Result<Message> message = Decode(incoming.body);
  if (!message) return;
  std::map<uint64_t, Asked>& asked = asked_[incoming.peer];
  while (asked.size() > 64) asked.erase(asked.begin());
  if (auto* m = std::get_if<GroupScored>(&message->body)) asked[message->sequence] = {Asked::kScored, m->group.value};
  if (auto* m = std::get_if<StepDone>(&message->body)) asked[message->sequence] = {Asked::kStep, m->report.step.value};
  if (auto* m = std::get_if<VersionAnnounce>(&message->body)) asked[message->sequence] = {Asked::kVersion, m->info.version.value};
}

void Watch::OnReplied(const Process& server, const std::string& peer, const std::string& body) {
  const Result<Message> message = Decode(body);
  if (!message) return Complain("a reply cannot be read: " + message.error().Message());
  if (auto* m = std::get_if<GroupSpooled>(&message->body); m && m->ok) CheckSpooled(server, m->group);
  if (server.name != "coordinator") return;
  const uint64_t epoch = epoch_of_[server.name + "." + std::to_string(server.life)];
  const Lane& lane = lanes_[epoch];
  if (epoch == current_)
    acknowledged_ = ledger_.size();
  else if (epoch < current_ && lane.records > lanes_[current_].records && std::holds_alternative<Ack>(message->body))
    Complain(fmt::format("the replaced coordinator of epoch {} acknowledges what epoch {} does not hold", epoch, current_));
  if (epoch != current_) return;  // it may not know yet; what it says from memory binds nobody
  if (auto* m = std::get_if<LeaseGrant>(&message->body)) CheckGrant(*m);
  if (auto* m = std::get_if<HeartbeatReply>(&message->body)) CheckNewest(m->newest);
  auto* ack = std::get_if<Ack>(&message->body);
  auto of_peer = asked_.find(peer);
  if (!ack || !ack->accepted || of_peer == asked_.end()) return;
  auto asked = of_peer->second.find(message->sequence);
  if (asked != of_peer->second.end()) CheckAck(asked->second);
}

void Watch::CheckAck(const Asked& asked) {
  if (asked.kind == Asked::kScored && !outcome_.count({asked.number}))
    Complain(fmt::format("the result of group {} was acknowledged and is not in the ledger", asked.number));
  if (asked.kind == Asked::kStep && !steps_ever_.count(asked.number))
    Complain(fmt::format("step {} was acknowledged and is not in the ledger", asked.number));
  if (asked.kind == Asked::kVersion && !versions_.count(asked.number))
    Complain(fmt::format("version {} was acknowledged and is not in the ledger", asked.number));
}

void Watch::CheckNewest(const VersionInfo& newest) {
  if (newest.manifest.empty()) return;
  auto known = versions_.find(newest.version.value);
  if (known == versions_.end() || !known->second.count(newest.hash))
    Complain(fmt::format("version {} is handed out before it is in the ledger", newest.version.value));
}

void Watch::CheckGrant(const LeaseGrant& grant) {
  CheckNewest(grant.newest);
  for (const Lease& lease : grant.leases) {
    ++leases_;
    if (!versions_.count(lease.min_version.value) && lease.min_version > grant.newest.version)
      Complain(fmt::format("group {} is leased for a version that is not in the ledger", lease.group.value));
    if (!IsEvalGroup(lease.group) && lease.wave.value > furthest_ + 1 + plan_.staleness)
      Complain(fmt::format("group {} is leased beyond the staleness bound", lease.group.value));
  }
}

void Watch::CheckSpooled(const Process& server, GroupId group) {
  const std::string path = fmt::format("run/spool/{}/{:016x}.group", server.name, group.value);
  if (disk_.Exists(path) && !disk_.IsDurable(path))
    Complain(fmt::format("{} acknowledges group {}, which is not on the medium", server.name, group.value));
}

void Watch::OnLoaded(PolicyVersion version) {
  if (!versions_.count(version.value)) Complain(fmt::format("a rollout loads version {} before it is in the ledger", version.value));
}

// --- the state ------------------------------------------------------------------------------------------------------------------------

void Watch::OnState(const CoordinatorState& state) {
  if (state.epoch() != current_) return;
  if (state.last_done().value != last_step_)
    Complain(fmt::format("the state is at step {}, the ledger at {}", state.last_done().value, last_step_));
  if (++states_ % kBooksEvery != 0 || state.groups().size() > kSmall) return;
  for (const auto& [name, member] : state.members())
    for (GroupId id : member.leases)
      if (const GroupState& group = state.groups().at(id); group.phase != GroupPhase::kLeased || group.worker != name)
        Complain(fmt::format("group {} has two holders: {} and {}", id.value, name, group.worker));
  uint64_t untrained = 0;
  for (const auto& [id, group] : state.groups()) {
    const bool waits = group.phase == GroupPhase::kLeased || group.phase == GroupPhase::kScored;
    if (waits && !IsEvalGroup(id) && group.wave.value > last_step_) ++untrained;
    if ((group.phase == GroupPhase::kScored || group.phase == GroupPhase::kTrained) && !outcome_.count(id))
      Complain(fmt::format("group {} is {} without an outcome in the ledger", id.value, Name(group.phase)));
  }
  // Backpressure: after a rollback, groups of the undone steps wait again.
  const uint64_t waves = 1 + plan_.staleness + (furthest_ - std::min(furthest_, last_step_));
  const uint64_t filled = plan_.curriculum.fill_batches > 1 ? kMostFilled : 1;
  if (untrained > waves * plan_.prompts_per_step * filled) Complain(fmt::format("{} groups are ahead of step {}", untrained, last_step_));
}

// --- the end --------------------------------------------------------------------------------------------------------------------------

void Watch::AtEnd(Store& newest) {
  CheckBooks();
  const Balance balance = auditor_->Result();
  if (!balance.finished || balance.in_flight != 0) Complain("groups are left in flight: " + BalanceText(balance));
  CheckObservations(newest);
}

void Watch::CheckObservations(Store& newest) {
  std::map<std::string, int64_t> expected, found;
  for (const auto& [id, labelled] : observed_)
    if (outcome_.count(id)) expected[StreamOf(plan_, id)] += labelled;
  const CalibrationRecord record(newest);
  const Result<std::vector<SeriesKey>> all = record.List();
  if (!all) return Complain("the calibration record cannot be read: " + all.error().Message());
  for (const SeriesKey& series : *all) {
    const bool main = series.signal == (series.stream == "train" ? "verbal" : "verbal/greedy");
    if (!main || !series.slice.empty()) continue;
    const Result<calibration::CalSketch> sum = record.Query(series, {0}, {UINT64_MAX});
    if (!sum) return Complain("the calibration record cannot be read: " + sum.error().Message());
    found[series.stream] += sum->n() + sum->missing();
  }
  for (const auto& [stream, count] : expected)
    if (count != found[stream])
      Complain(fmt::format("the record of {} holds {} observations, the ledger {}", stream, found[stream], count));
}

void Watch::CountLengths(std::vector<uint64_t>& issued, std::vector<uint64_t>& trained) const {
  issued.resize(kLengthMax + 1), trained.resize(kLengthMax + 1);
  for (const auto& [step, groups] : plans_)
    if (step <= last_step_)
      for (GroupId id : groups) ++trained[LengthOf(plan_.seed, id)];
  for (uint64_t wave = 1; wave <= last_step_; ++wave)
    for (uint32_t position = 0; position < plan_.prompts_per_step; ++position) ++issued[LengthOf(plan_.seed, MakeGroupId(wave, position))];
}

}  // namespace candor::sim
