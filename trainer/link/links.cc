#include "trainer/link/links.h"

#include <algorithm>

#include "core/fs.h"
#include "core/launch.h"
#include "core/log.h"
#include "core/rendezvous.h"

namespace candor {

namespace {
constexpr int kTryMs = 2000;  // one question to one coordinator; then its address is looked up again
constexpr int kPauseMs = 100;
constexpr int64_t kIdleMs = 60'000;  // then a connection to a reward worker is closed; to open another costs milliseconds
}  // namespace

Status LearnerLink::Connect(int64_t deadline_ms) {
  const Result<CoordinatorAddress> found = FindCoordinator(setup_.run_dir, *setup_.disk);
  if (!found) {  // whatever keeps the file from being read may pass: a file system that is away, a coordinator that was just started
    Error away = found.error();
    away.code = ErrorCode::kUnavailable, away.retry = true;
    return Fail(away);
  }
  const CoordinatorAddress& address = *found;
  if (caller_ && address.epoch == epoch_) return {};
  caller_.reset();
  CANDOR_ASSIGN(client_, setup_.transport->Connect(address.endpoint, Role::kTrainer, Role::kCoordinator, kMaxControlBytes));
  auto caller = std::make_unique<Caller>(*client_, setup_.run_id, setup_.worker, *setup_.clock);
  Hello hello{"trainer", setup_.worker, setup_.incarnation, "", {}, {}, NodeName()};
  CANDOR_ASSIGN(welcome_,
                caller->Ask<Welcome>(hello, "hello to the coordinator", static_cast<int>(std::min<int64_t>(deadline_ms, kTryMs))));
  caller_ = std::move(caller);
  epoch_ = address.epoch;
  spdlog::info("coordinator endpoint={} epoch={} last_step={}", address.endpoint, epoch_, welcome_.last_step.value);
  return {};
}

Result<MessageBody> LearnerLink::Exchange(const MessageBody& request, const std::string& what, int64_t deadline_ms) {
  const int64_t end = setup_.clock->SteadyMs() + deadline_ms;
  Error last{ErrorCode::kUnavailable, "no answer to " + what, "", "", true};
  do {
    int64_t left = std::max<int64_t>(1, end - setup_.clock->SteadyMs());
    Status connected = Connect(left);
    if (connected) {
      Result<MessageBody> reply = caller_->Call(request, what, static_cast<int>(std::min<int64_t>(left, kTryMs)), 500);
      if (reply || reply.error().code != ErrorCode::kUnavailable) return reply;
      last = reply.error();
    } else {
      if (connected.error().code != ErrorCode::kUnavailable) return Fail(connected.error());
      last = connected.error();
    }
    setup_.clock->SleepMs(kPauseMs);
  } while (setup_.clock->SteadyMs() < end);
  return Fail(last);
}

// A reward worker that was started again has another address; the socket to the old one would try for ever.
void GroupFetcher::ForgetIdle() {
  const int64_t now_ms = setup_.clock->SteadyMs();
  std::erase_if(peers_, [&](const auto& peer) { return now_ms - peer.second.used_ms > kIdleMs; });
}

Result<ScoredGroup> GroupFetcher::Fetch(const PlannedGroup& planned, int deadline_ms) {
  ForgetIdle();
  Peer& peer = peers_[planned.reward_endpoint];
  peer.used_ms = setup_.clock->SteadyMs();
  if (!peer.client) {
    CANDOR_ASSIGN(peer.client, setup_.transport->Connect(planned.reward_endpoint, Role::kTrainer, Role::kReward, kMaxPayloadBytes));
    peer.caller = std::make_unique<Caller>(*peer.client, setup_.run_id, setup_.worker, *setup_.clock);
  }
  const std::string what = "fetch of group " + ToString(planned.group) + " from " + planned.reward_endpoint;
  Result<ScoredGroup> group = peer.caller->Ask<ScoredGroup>(FetchGroup{planned.group, planned.hash}, what, deadline_ms);
  if (!group) {
    peers_.erase(planned.reward_endpoint);  // the next try gets a new connection
    return group;
  }
  if (group->id != planned.group || HashHex(EncodePayload(*group)) != planned.hash)
    return Fail(ErrorCode::kInvalidInput, "the group's bytes do not have the hash that the plan names", what);
  return group;
}

}  // namespace candor
