// The simulated world of coordinator_simulation_test.cc: the coordinator's state machine with its ledger codec, actors for rollout, reward
// and trainer, and a network between them that drops, doubles and delays. One thread, one seed, no clock: the same seed gives the same
// ledger.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <queue>
#include <set>
#include <string>
#include <vector>

#include "coordinator/accounting.h"
#include "coordinator/state.h"
#include "tests/unit/coordinator/simulated_actors.h"

namespace candor::sim {

inline constexpr int64_t kHealMs = 60000;       // faults stop here (safety before, liveness after)
inline constexpr int64_t kDeadlineMs = 400000;  // by then the run must be finished

// Deliberately broken rules, to show that the checker sees them.
enum class Sabotage { kNone, kForgetReissuedIds, kPlanTwice, kLoseRecords, kAckBeforeVersion };

struct World {
  RunPlan plan;
  Sabotage sabotage;
  Dice dice;
  double drop, duplicate, death;
  int64_t now = 0;
  uint64_t order = 0, epoch = 1, next_incarnation = 1, furthest = 0;
  std::priority_queue<Envelope> wire;
  std::vector<std::string> ledger;
  std::unique_ptr<CoordinatorState> coordinator;
  std::unique_ptr<Auditor> auditor;
  std::vector<std::unique_ptr<RolloutActor>> rollouts;
  std::vector<std::unique_ptr<RewardActor>> rewards;
  TrainerActor trainer;
  std::string failure;
  uint64_t deaths = 0, restarts = 0;

  World(uint64_t seed, Sabotage s) : sabotage(s), dice(seed) {
    plan.run_id = "sim";
    plan.steps = 4 + dice.Bits() % 4;
    plan.prompts_per_step = 2 + static_cast<uint32_t>(dice.Bits() % 4);
    plan.group_size = 4;
    plan.greedy_traces = 1;
    plan.staleness = dice.Bits() % 3;
    plan.deterministic = dice.Chance(0.3);
    plan.seed = seed;
    plan.datasets = {{"train", 7, 1.0}, {"more", 5, 0.5}};
    if (seed % 3 == 0) plan.curriculum = {true, 0.5, 0.3, 60};
    if (dice.Chance(0.7)) plan.evals = {{"dev", 3, 2}};
    drop = dice.Chance(0.3) ? 0 : 0.25 * ToUnit(dice.Bits());
    duplicate = 0.25 * ToUnit(dice.Bits());
    death = dice.Chance(0.3) ? 0 : 0.004 * ToUnit(dice.Bits());
    auditor = std::make_unique<Auditor>(plan);
    coordinator = std::make_unique<CoordinatorState>(plan, Limits(), epoch);
    for (int i = 0; i < 2; ++i) {
      rollouts.push_back(std::make_unique<RolloutActor>());
      rollouts.back()->name = "rollout-" + std::to_string(i), rollouts.back()->role = Role::kRollout,
      rollouts.back()->incarnation = next_incarnation++;
      rewards.push_back(std::make_unique<RewardActor>());
      rewards.back()->name = "reward-" + std::to_string(i), rewards.back()->role = Role::kReward,
      rewards.back()->incarnation = next_incarnation++;
    }
    trainer.name = "trainer", trainer.role = Role::kTrainer, trainer.incarnation = next_incarnation++;
  }
  static StateLimits Limits() { return {3000, 8000, 5, 3}; }
  bool Healed() const { return now >= kHealMs; }

  void Post(std::function<void()> deliver) {
    int copies = Healed() ? 1 : dice.Chance(drop) ? 0 : dice.Chance(duplicate) ? 2 : 1;
    for (; copies > 0; --copies) wire.push({now + (Healed() ? 5 : dice.Between(1, dice.Chance(0.05) ? 3000 : 60)), ++order, deliver});
  }

  // --- the coordinator's shell ---
  void Keep(Actions& actions) {
    for (const LedgerRecord& record : actions.records) {
      if (sabotage == Sabotage::kLoseRecords && std::holds_alternative<GroupScored>(record) && dice.Chance(0.3)) continue;
      ledger.push_back(EncodeRecord(record));
      Result<LedgerRecord> read = DecodeRecord(ledger.back());
      if (!read) return void(failure = "a record cannot be read again: " + read.error().Message());
      auditor->Add(*read);
      if (sabotage == Sabotage::kPlanTwice && std::holds_alternative<StepDone>(record)) auditor->Add(record);
    }
    if (sabotage == Sabotage::kForgetReissuedIds)
      for (const GroupScored& scored : actions.observed)
        if (seen_scored.count(scored.group)) return;
    for (const GroupScored& scored : actions.observed) seen_scored.insert(scored.group);
  }
  std::set<GroupId> seen_scored;

  void CoordinatorHears(Role role, const std::string& who, uint64_t incarnation, uint64_t sequence, MessageBody body) {
    if (sabotage == Sabotage::kForgetReissuedIds) {
      // A coordinator that does not know a second result from a first: it drops its memory of the group and takes the result again.
      if (auto* scored = std::get_if<GroupScored>(&body); scored && seen_scored.count(scored->group)) {
        Actions again;
        again.records.push_back(*scored);
        Keep(again);
      }
    }
    if (sabotage == Sabotage::kAckBeforeVersion)
      if (auto* announce = std::get_if<VersionAnnounce>(&body); announce && announce->info.version.value > 0) {
        Actions unlogged = coordinator->Receive(role, sequence, body, now);  // the state knows it, the ledger does not
        return Reply(who, incarnation, sequence, unlogged);
      }
    Actions actions = coordinator->Receive(role, incarnation << 32 | sequence, body, now);
    Keep(actions);
    if (auto* grant = actions.reply ? std::get_if<LeaseGrant>(&*actions.reply) : nullptr) CheckLeases(*grant);
    Reply(who, incarnation, sequence, actions);
  }
  void CheckLeases(const LeaseGrant& grant) {
    for (const Lease& lease : grant.leases) {
      if (IsEvalGroup(lease.group)) continue;
      // A doubled request hears again of leases that were granted before the learner went back.
      furthest = std::max(furthest, coordinator->last_done().value);
      if (lease.wave.value > furthest + 1 + plan.staleness) failure = "a lease beyond the staleness bound";
      if (lease.min_version > coordinator->newest_version()) failure = "a lease for a version that is not in the ledger";
    }
  }
  void Reply(const std::string& who, uint64_t incarnation, uint64_t sequence, const Actions& actions) {
    if (!actions.reply) return;
    Post([this, who, incarnation, sequence, reply = *actions.reply] {
      Client* client = Find(who);
      if (!client || client->incarnation != incarnation || client->sequence != sequence || !client->question) return;
      client->question.reset();
      client->on_reply(reply);
    });
  }
  void RestartCoordinator() {
    ++restarts;
    const uint64_t cursor = coordinator->curriculum().cursor();
    coordinator = std::make_unique<CoordinatorState>(plan, Limits(), ++epoch);
    for (const std::string& bytes : ledger)
      if (Status replayed = coordinator->Replay(*DecodeRecord(bytes)); !replayed) failure = "replay: " + replayed.error().Message();
    if (failure.empty() && coordinator->curriculum().cursor() != cursor) failure = "a replay chose other prompts";
    coordinator->HoldLeasesUntil(now + 500);
    for (auto& rollout : rollouts) rollout->greeted = false;
    for (auto& reward : rewards) {
      reward->greeted = false;
      for (const auto& [id, header] : reward->disk) reward->unacknowledged.insert(id);
    }
  }

  // --- clients ---
  Client* Find(const std::string& name) {
    for (auto& r : rollouts)
      if (r->name == name) return r.get();
    for (auto& r : rewards)
      if (r->name == name) return r.get();
    return name == trainer.name ? &trainer : nullptr;
  }
  void Ask(Client& client, MessageBody question, std::function<void(const MessageBody&)> on_reply) {
    client.question = std::move(question);
    client.on_reply = std::move(on_reply);
    ++client.sequence;
    client.asked_ms = -1000000;
  }
  // Sends an open question (again).
  bool Pending(Client& client) {
    if (!client.question) return false;
    if (now - client.asked_ms >= 500) {
      client.asked_ms = now;
      Post([this, role = client.role, who = client.name, inc = client.incarnation, seq = client.sequence, body = *client.question] {
        CoordinatorHears(role, who, inc, seq, body);
      });
    }
    return true;
  }

  void Step(RolloutActor& r) {
    Finish(r);
    if (Pending(r)) return;
    if (!r.greeted) {
      Hello hello{"rollout", r.name, {r.incarnation}, "", {}, {}};
      for (const auto& [id, work] : r.work) hello.open_leases.push_back({id, 1});
      return Ask(r, hello, [this, &r](const MessageBody& reply) {
        r.greeted = std::holds_alternative<Welcome>(reply);
        if (auto* error = std::get_if<Error>(&reply); error && error->code == ErrorCode::kUnauthorized) RestartRollout(r);
      });
    }
    if (now >= r.beat_ms) {
      r.beat_ms = now + 700;
      WorkerHeartbeat beat{r.name, {r.incarnation}, {}, {}};
      for (const auto& [id, work] : r.work) beat.open_leases.push_back({id, static_cast<uint64_t>(now)});
      return Ask(r, beat, [this, &r](const MessageBody& reply) {
        if (auto* heard = std::get_if<HeartbeatReply>(&reply))
          for (GroupId id : heard->cancelled) r.work.erase(id);
        // A message of its last life arrived late and took its name: it ends, and its supervisor starts it again.
        if (auto* error = std::get_if<Error>(&reply); error && error->code == ErrorCode::kUnauthorized) RestartRollout(r);
      });
    }
    if (now >= r.ask_ms && r.work.size() < 3) {
      r.ask_ms = now + 100;
      return Ask(r, LeaseRequest{r.name, {r.incarnation}, r.loaded, static_cast<uint32_t>(3 - r.work.size())},
                 [this, &r](const MessageBody& reply) {
                   auto* grant = std::get_if<LeaseGrant>(&reply);
                   if (!grant) return;
                   r.loaded = grant->newest.version;
                   for (const Lease& lease : grant->leases)
                     r.work.emplace(lease.group, std::make_pair(lease, now + dice.Between(20, 1500)));
                 });
    }
  }
  // Finished groups go to a reward worker, which spools and scores them at once.
  void Finish(RolloutActor& r) {
    for (auto at = r.work.begin(); at != r.work.end();) {
      if (now < at->second.second) {
        ++at;
        continue;
      }
      const Lease lease = at->second.first;
      at = r.work.erase(at);
      RewardActor& reward = *rewards[dice.Bits() % rewards.size()];
      GroupScored header;
      header.group = lease.group, header.prompt = lease.prompt, header.wave = lease.wave,
      header.traces = lease.traces + lease.greedy_traces;
      header.reward_worker = reward.name, header.reward_endpoint = "tcp://" + reward.name + "/" + std::to_string(reward.incarnation);
      header.oldest_version = header.newest_version = std::clamp(r.loaded, lease.min_version, lease.max_version);
      header.completion_tokens = 10 + static_cast<uint32_t>(lease.group.value % 50);
      header.correct = 1, header.wrong = header.traces > 1;
      if (plan.curriculum.skip && lease.traces > 0) header.correct = lease.prompt.row % 6, header.wrong = 5 - header.correct;
      const uint64_t kind = lease.group.value % 11;  // the outcome is the group's own, whoever computes it
      header.drop = IsEvalGroup(lease.group) ? DropReason::kEvaluation
                    : kind == 3              ? DropReason::kNoVariance
                    : kind == 5              ? DropReason::kAllUnknown
                                             : DropReason::kNone;
      header.hash = std::to_string(dice.Bits());
      reward.disk[lease.group] = header;
      reward.unacknowledged.insert(lease.group);
    }
  }
  void Step(RewardActor& r) {
    if (Pending(r)) return;
    if (!r.greeted) {
      Hello hello{"reward", r.name, {r.incarnation}, "tcp://" + r.name + "/" + std::to_string(r.incarnation), {}, {}};
      for (const auto& [id, header] : r.disk) hello.spooled.push_back(id);
      return Ask(r, hello, [&r](const MessageBody& reply) { r.greeted = std::holds_alternative<Welcome>(reply); });
    }
    if (!r.unacknowledged.empty()) {
      const GroupId id = *r.unacknowledged.begin();
      return Ask(r, r.disk.at(id), [&r, id](const MessageBody& reply) {
        auto* ack = std::get_if<Ack>(&reply);
        if (!ack) return;
        r.unacknowledged.erase(id);
        for (GroupId forget : ack->forget) r.disk.erase(forget), r.unacknowledged.erase(forget);
        std::erase_if(r.disk, [&](const auto& e) {
          return !IsEvalGroup(e.first) && e.second.wave <= ack->spool_release_through && !r.unacknowledged.count(e.first);
        });
      });
    }
    if (now >= r.beat_ms) {
      r.beat_ms = now + 700;
      Ask(r, WorkerHeartbeat{r.name, {r.incarnation}, {}, {}},
          [&r](const MessageBody& reply) { r.greeted = std::holds_alternative<HeartbeatReply>(reply); });
    }
  }
  VersionInfo InfoOf(uint64_t version) const {
    return {{version}, "v" + std::to_string(version), "h" + std::to_string(trainer.incarnation) + "." + std::to_string(version)};
  }
  bool Fetchable(const PlannedGroup& group) {
    for (auto& reward : rewards)
      if (auto found = reward->disk.find(group.group); found != reward->disk.end() && found->second.hash == group.hash) return true;
    return false;
  }
  void Step(TrainerActor& t) {
    if (Pending(t) || now < t.next_ms || t.phase == TrainerActor::kGone) return;
    auto advance = [&t](decltype(t.phase) next) {
      return [&t, next](const MessageBody& reply) {
        if (auto* ack = std::get_if<Ack>(&reply); ack && ack->accepted)
          t.phase = next;
        else
          t.phase = TrainerActor::kPlan;
      };
    };
    switch (t.phase) {
      case TrainerActor::kAnnounceStart:
        return Ask(t, VersionAnnounce{InfoOf(t.checkpoint), {t.checkpoint}},
                   [&t](const MessageBody&) { t.phase = t.checkpoint > 0 ? TrainerActor::kCheckpoint : TrainerActor::kPlan; });
      case TrainerActor::kPlan:
        return Ask(t, PlanRequest{{t.step}, {t.incarnation}, 2}, [this, &t](const MessageBody& reply) {
          t.next_ms = now + 50;
          // A dead learner's first request may arrive late and pass for the newest life; the real one ends and is started again, as its
          // supervisor would.
          auto* error = std::get_if<Error>(&reply);
          if (error && error->code == ErrorCode::kUnauthorized && !Healed()) return RestartTrainer();
          if (error) failure = "trainer: " + error->Message();
          auto* plan_reply = std::get_if<StepPlan>(&reply);
          if (!plan_reply) return;
          if (plan_reply->finished)
            t.phase = TrainerActor::kGone;
          else if (plan_reply->ready)
            t.plan = *plan_reply, t.phase = TrainerActor::kVote;
        });
      case TrainerActor::kVote: {
        PlanVote vote{t.plan.plan, t.plan.step, true, {}, ""};
        for (const PlannedGroup& group : t.plan.groups)
          if (!Fetchable(group)) vote.ok = false, vote.bad_groups.push_back(group.group), vote.reason = "not on any disk";
        const bool ok = vote.ok;
        return Ask(t, vote, [&t, ok](const MessageBody&) { t.phase = ok ? TrainerActor::kAnnounce : TrainerActor::kPlan; });
      }
      case TrainerActor::kAnnounce:
        return Ask(t, VersionAnnounce{InfoOf(t.step), {t.step}}, advance(TrainerActor::kDone));
      case TrainerActor::kDone:
        return Ask(t, StepDone{{{t.step}, t.plan.plan, {t.step}, {}}, InfoOf(t.step)}, [this, &t](const MessageBody& reply) {
          auto* ack = std::get_if<Ack>(&reply);
          if (!ack || !ack->accepted) return void(t.phase = TrainerActor::kPlan);
          t.phase = t.step % 2 == 0 || t.step == plan.steps ? TrainerActor::kCheckpoint : TrainerActor::kPlan;
          ++t.step;
        });
      case TrainerActor::kCheckpoint:
        t.checkpoint = t.step - 1;
        return Ask(t, CheckpointDone{{t.checkpoint}, "c", "h"}, [&t](const MessageBody&) { t.phase = TrainerActor::kPlan; });
      case TrainerActor::kGone:
        return;
    }
  }

  void RestartRollout(RolloutActor& r) { r.incarnation = next_incarnation++, r.work.clear(), r.question.reset(), r.greeted = false; }
  void RestartTrainer() {
    trainer.incarnation = next_incarnation++, trainer.question.reset();
    trainer.step = trainer.checkpoint + 1, trainer.phase = TrainerActor::kAnnounceStart;
  }

  // --- faults ---
  void Faults() {
    if (Healed()) return;
    for (auto& r : rollouts)
      if (dice.Chance(death)) ++deaths, RestartRollout(*r);
    for (auto& r : rewards) {
      if (!dice.Chance(death)) continue;
      ++deaths, r->incarnation = next_incarnation++, r->question.reset(), r->greeted = false;
      if (dice.Chance(0.5)) r->disk.clear(), r->unacknowledged.clear();  // the disk is lost as well
      for (const auto& [id, header] : r->disk) r->unacknowledged.insert(id);
    }
    if (dice.Chance(death) && trainer.phase != TrainerActor::kGone) {
      ++deaths;
      RestartTrainer();
    }
    if (dice.Chance(death)) RestartCoordinator();
  }

  bool Done() const { return coordinator->finished() && trainer.phase == TrainerActor::kGone; }
  // "" when all is well.
  std::string Run() {
    for (; now < kDeadlineMs && failure.empty() && !Done(); now += 10) {
      while (!wire.empty() && wire.top().at_ms <= now) {
        auto deliver = wire.top().deliver;
        wire.pop();
        deliver();
      }
      for (auto& r : rollouts) Step(*r);
      for (auto& r : rewards) Step(*r);
      Step(trainer);
      Faults();
      if (now % 100 == 0) {
        Actions actions = coordinator->Tick(now);
        Keep(actions);
      }
      if (now % 2000 == 0) CheckBooks(false);
    }
    if (failure.empty() && !Done())
      failure = "not live: step " + std::to_string(coordinator->last_done().value) + " of " + std::to_string(plan.steps) +
                ", waiting: " + Waits();
    if (failure.empty()) CheckBooks(true);
    return failure;
  }
  std::string Waits() const {
    std::string text;
    for (const auto& [who, what] : coordinator->waiting()) text += who + " for " + what.what + "; ";
    return text;
  }
  void CheckBooks(bool end) {
    const Balance balance = auditor->Result();
    if (!balance.Balances()) failure = balance.violations.empty() ? "the books do not balance" : balance.violations[0];
    // The two readers of the ledger, state machine and auditor, must agree.
    uint64_t trained = 0, evaluated = 0, dropped = 0, issued = 0;
    coordinator->ForEachGroup([&](GroupId, GroupStand stand) {
      ++issued;
      trained += stand.phase == GroupPhase::kTrained;
      evaluated += stand.phase == GroupPhase::kEvaluated;
      dropped += stand.phase == GroupPhase::kDropped;
    });
    const bool agree =
        trained == balance.trained && evaluated == balance.evaluated && dropped == balance.dropped && issued == balance.issued;
    if (failure.empty() && !agree) failure = "state and ledger disagree: " + BalanceText(balance);
    if (failure.empty() && end && (balance.in_flight != 0 || !balance.finished))
      failure = "groups are left in flight: " + BalanceText(balance);
  }
};

}  // namespace candor::sim
