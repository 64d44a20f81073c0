#include "reward/coordinator_link.h"

#include <algorithm>
#include <array>

#include "core/fault_point.h"
#include "core/launch.h"
#include "core/log.h"
#include "core/rendezvous.h"
#include "reward/filter.h"

namespace candor {

namespace {
constexpr int kLookEveryMs = 200;  // how soon a new coordinator is noticed: a look into the run's folder
}  // namespace

void CoordinatorLink::Announce(GroupScored header) {
  std::scoped_lock lock(mutex_);
  GroupId group = header.group;
  headers_[group] = std::move(header);
  unacknowledged_.insert(group);
}

void CoordinatorLink::AnnounceAgain(GroupId group) {
  std::scoped_lock lock(mutex_);
  if (headers_.contains(group)) unacknowledged_.insert(group);
}

size_t CoordinatorLink::unacknowledged() const {
  std::scoped_lock lock(mutex_);
  return unacknowledged_.size();
}

void CoordinatorLink::Run() {
  int backoff_ms = setup_.backoff_first_ms;
  uint64_t tried_epoch = 0;
  while (!Stopping()) {
    Result<CoordinatorAddress> address = FindCoordinator(setup_.run_dir, *setup_.disk);
    if (address) {
      greeted_ = false;
      tried_epoch = address->epoch;
      Serve(address->epoch, address->endpoint);
      if (greeted_) backoff_ms = setup_.backoff_first_ms;
    }
    if (setup_.steps > 0 && IsRunFinished(setup_.run_dir, setup_.steps, *setup_.disk)) finished_ = true;
    if (!Stopping()) spdlog::info("coordinator away: {} headers kept, next try within {} ms", unacknowledged(), backoff_ms);
    const int64_t until = setup_.clock->SteadyMs() + backoff_ms;
    for (; !Stopping() && setup_.clock->SteadyMs() < until; setup_.clock->SleepMs(setup_.nap_ms)) {
      Result<CoordinatorAddress> newer = FindCoordinator(setup_.run_dir, *setup_.disk);
      if (newer && newer->epoch != tried_epoch) break;
    }
    backoff_ms = std::min(backoff_ms * 2, setup_.backoff_last_ms);
  }
}

void CoordinatorLink::TakeRefusal(const Error& error) {
  if (error.code != ErrorCode::kUnauthorized && error.code != ErrorCode::kVersionSkew) return;
  {
    std::scoped_lock lock(mutex_);
    refused_ = error;
  }
  stopped_ = true;
}

std::optional<Error> CoordinatorLink::refused() const {
  std::scoped_lock lock(mutex_);
  return refused_;
}

// One connection: until it breaks, a newer coordinator appears, or the end.
void CoordinatorLink::Serve(uint64_t epoch, const std::string& endpoint) {
  Result<std::unique_ptr<MessageClient>> client = setup_.transport->Connect(endpoint, Role::kReward, Role::kCoordinator, kMaxControlBytes);
  if (!client) return LogError(client.error(), "connect to the coordinator");
  Caller caller(**client, setup_.run_id, setup_.worker, *setup_.clock);
  if (Status greeted = Greet(caller, epoch); !greeted) {
    TakeRefusal(greeted.error());
    return LogError(greeted.error(), "hello to the coordinator");
  }
  int64_t next_beat = setup_.clock->SteadyMs() + setup_.heartbeat_ms, next_look = setup_.clock->SteadyMs() + kLookEveryMs;
  while (!Stopping()) {
    if (Status sent = SendHeaders(caller); !sent) return LogError(sent.error(), "headers to the coordinator");
    if (setup_.clock->SteadyMs() >= next_beat) {
      if (Status beat = Beat(caller); !beat) {
        TakeRefusal(beat.error());
        if (beat.error().code != ErrorCode::kUnavailable) LogError(beat.error(), "heartbeat to the coordinator");
        return;  // one that is gone, perhaps because the run is over, is spoken of by Run
      }
      next_beat = setup_.clock->SteadyMs() + setup_.heartbeat_ms;
    }
    if (setup_.clock->SteadyMs() >= next_look) {
      next_look = setup_.clock->SteadyMs() + kLookEveryMs;
      Result<CoordinatorAddress> newest = FindCoordinator(setup_.run_dir, *setup_.disk);
      if (newest && newest->epoch != epoch) return;
    }
    setup_.clock->SleepMs(setup_.nap_ms);
  }
}

Status CoordinatorLink::Greet(Caller& caller, uint64_t epoch) {
  Hello hello{"reward", setup_.worker, setup_.incarnation, setup_.endpoint, {}, {}, NodeName()};
  for (const SpooledGroup& spooled : spool_.List()) hello.spooled.push_back(spooled.group);
  CANDOR_ASSIGN(Welcome welcome, caller.Ask<Welcome>(hello, "hello", setup_.call_deadline_ms));
  greeted_ = true;
  if (epoch != greeted_epoch_) {
    std::scoped_lock lock(mutex_);
    for (const auto& [id, header] : headers_) unacknowledged_.insert(id);
  }
  greeted_epoch_ = epoch;
  finished_ = welcome.finished;
  spdlog::info("joined run {} epoch {} with {} spooled groups", welcome.run_id, epoch, hello.spooled.size());
  return {};
}

Status CoordinatorLink::SendHeaders(Caller& caller) {
  std::vector<GroupScored> unsent;
  {
    std::scoped_lock lock(mutex_);
    for (GroupId id : unacknowledged_) unsent.push_back(headers_.at(id));
  }
  for (GroupScored& header : unsent) {
    if (Stopping()) return {};
    GroupId group = header.group;
    FaultPoint("reward.announce");
    CANDOR_ASSIGN(Ack ack, caller.Ask<Ack>(std::move(header), "group scored", setup_.call_deadline_ms));
    FaultPoint("reward.announced");
    Apply(group, ack);
  }
  return {};
}

void CoordinatorLink::Apply(GroupId group, const Ack& ack) {
  if (!ack.accepted) spdlog::warn("coordinator declined group {}: {}", group.value, ack.reason);
  const StepId through = ack.spool_release_through;
  bool further = false, late = false;  // late: of a step that was covered before this group was told
  {
    std::scoped_lock lock(mutex_);
    unacknowledged_.erase(group);
    further = released_ != through;
    released_ = through;
    const auto done = [&](const auto& entry) {
      return !IsEvaluation(entry.first) && entry.second.wave <= through && !unacknowledged_.contains(entry.first);
    };
    if (further) std::erase_if(headers_, done);
    if (const auto found = headers_.find(group); found != headers_.end() && done(*found)) {
      headers_.erase(found);
      late = true;
    }
  }
  if (further) spool_.ReleaseThrough(through);
  if (late) spool_.Forget(std::array{group});
  Forget(ack.forget);
  if (IsEvaluation(group)) Forget({group});  // the header held all that is recorded; nobody fetches it
  if (ack.finished) finished_ = true;
}

void CoordinatorLink::Forget(const std::vector<GroupId>& groups) {
  spool_.Forget(groups);
  std::scoped_lock lock(mutex_);
  for (GroupId group : groups) {
    headers_.erase(group);
    unacknowledged_.erase(group);
  }
}

// An answer of any kind shows that the coordinator lives.
Status CoordinatorLink::Beat(Caller& caller) {
  WorkerHeartbeat heartbeat{setup_.worker, setup_.incarnation, {}, {}};
  heartbeat.metrics["spool_bytes"] = static_cast<double>(spool_.bytes());
  heartbeat.metrics["unacknowledged"] = static_cast<double>(unacknowledged());
  Result<HeartbeatReply> reply = caller.Ask<HeartbeatReply>(heartbeat, "heartbeat", setup_.call_deadline_ms);
  if (!reply) return reply.error().code == ErrorCode::kInvalidInput ? Status{} : Status(Fail(reply.error()));
  if (reply->finished) finished_ = true;
  Forget(reply->cancelled);
  return {};
}

}  // namespace candor
