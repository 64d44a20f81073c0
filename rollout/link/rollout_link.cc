#include "rollout/link/rollout_link.h"

#include <algorithm>

#include "core/fault_point.h"
#include "core/launch.h"
#include "core/log.h"
#include "core/rendezvous.h"

namespace candor {
namespace {

constexpr int kLookMs = 1000;       // how often the run's folder is asked for a newer coordinator
constexpr int kLeasePauseMs = 100;  // after a grant that brought nothing

// Errors after which another try cannot help.
bool IsFatal(const Error& error) { return error.code == ErrorCode::kUnauthorized || error.code == ErrorCode::kVersionSkew; }

}  // namespace

RolloutLink::RolloutLink(RolloutLinkSetup setup, LeaseBook& book)
    : setup_(std::move(setup)), book_(book), backoff_ms_(setup_.backoff_first_ms) {}

void RolloutLink::SetEngine(PolicyVersion loaded, std::map<std::string, double> metrics) {
  const std::scoped_lock lock(mutex_);
  loaded_ = loaded;
  metrics_ = std::move(metrics);
}

Status RolloutLink::Run(const std::atomic<bool>& engine_ended) {
  int64_t leave_ms = -1;
  for (;;) {
    const bool ending = finished_ || setup_.stop->load() || engine_ended;
    if (ending && leave_ms < 0) leave_ms = setup_.clock->SteadyMs() + setup_.drain_ms;
    if (ending && (book_.unspooled() == 0 || setup_.clock->SteadyMs() >= leave_ms)) return {};
    ServeRewards();
    if (!ending) CANDOR_TRY(ServeCoordinator());
    setup_.clock->SleepMs(setup_.nap_ms);
  }
}

void RolloutLink::ServeRewards() {
  for (DueGroup& due : book_.TakeDue(setup_.clock->SteadyMs())) {
    RewardPeer& peer = rewards_[due.endpoint];
    if (!peer.client) {
      auto client = setup_.transport->Connect(due.endpoint, Role::kRollout, Role::kReward, kMaxPayloadBytes);
      if (!client) {
        LogError(client.error(), "connect to " + due.endpoint);
        continue;
      }
      peer.client = std::move(*client);
    }
    const GroupId group = due.group.id;
    const uint64_t sequence = next_sequence_++;
    const std::string bytes = Encode({setup_.run_id, sequence, setup_.worker, std::move(due.group)});
    if (bytes.size() > kMaxPayloadBytes) {
      book_.Failed(group, "its traces are " + std::to_string(bytes.size() >> 20) + " MiB, more than a message may hold", true);
      continue;
    }
    FaultPoint("rollout.send");
    peer.sent[sequence] = group;
    while (peer.sent.size() > 4096) peer.sent.erase(peer.sent.begin());
    if (const Status sent = peer.client->Send(bytes); !sent)
      LogError(sent.error(), "send group " + ToString(group) + " to " + due.endpoint);
    FaultPoint("rollout.sent");
  }
  for (auto& [endpoint, peer] : rewards_) {
    if (!peer.client) continue;
    for (;;) {
      const auto reply = peer.client->Receive(0);
      if (!reply) LogError(reply.error(), "receive from " + endpoint);
      if (!reply || !*reply) break;
      TakeRewardReply(peer, **reply);
    }
  }
}

// A reward worker that was started again has another address; the socket to the old one would try for ever. What is not acknowledged is due
// again elsewhere. A coordinator that knows no reward worker has only just started.
void RolloutLink::ForgetRewards(const std::vector<std::string>& present) {
  if (present.empty()) return;
  std::erase_if(rewards_, [&](const auto& peer) { return std::find(present.begin(), present.end(), peer.first) == present.end(); });
}

void RolloutLink::TakeRewardReply(RewardPeer& peer, const std::string& bytes) {
  Result<Message> message = Decode(bytes);
  if (!message) return LogError(message.error(), "reply of a reward worker");
  const auto sent = peer.sent.find(message->sequence);
  const std::optional<GroupId> group = sent == peer.sent.end() ? std::nullopt : std::optional<GroupId>(sent->second);
  if (sent != peer.sent.end()) peer.sent.erase(sent);
  if (const auto* spooled = std::get_if<GroupSpooled>(&message->body)) {
    FaultPoint("rollout.acked");
    if (spooled->ok) return book_.Spooled(spooled->group);
    return book_.Failed(spooled->group, spooled->reason, false);
  }
  const auto* error = std::get_if<Error>(&message->body);
  if (!error || !group) return;
  LogError(*error, "group " + ToString(*group) + " at the reward worker");
  if (error->code != ErrorCode::kUnavailable) book_.Failed(*group, error->Message(), error->code == ErrorCode::kInvalidInput);
}

Status RolloutLink::ServeCoordinator() {
  const int64_t now = setup_.clock->SteadyMs();
  if (now >= next_look_ms_) {  // a coordinator that was started again has another file
    next_look_ms_ = now + kLookMs;
    if (const auto newest = FindCoordinator(setup_.run_dir, *setup_.disk); newest && newest->epoch != epoch_)
      coordinator_.reset(), next_try_ms_ = 0;
  }
  if (!coordinator_ && now < next_try_ms_) return {};
  const Status talked = coordinator_ ? Talk() : Connect();
  if (talked) return {};
  if (IsFatal(talked.error())) return talked;
  NoteAway(talked.error());
  return {};
}

void RolloutLink::NoteAway(const Error& error) {
  spdlog::info("coordinator away: {}; {} results kept, next try within {} ms", error.Message(), book_.unspooled(), backoff_ms_);
  caller_.reset();
  coordinator_.reset();
  if (setup_.steps > 0 && IsRunFinished(setup_.run_dir, setup_.steps, *setup_.disk)) finished_ = true;
  next_try_ms_ = setup_.clock->SteadyMs() + backoff_ms_;
  backoff_ms_ = std::min(backoff_ms_ * 2, setup_.backoff_last_ms);
}

Status RolloutLink::Connect() {
  CANDOR_ASSIGN(const CoordinatorAddress address, FindCoordinator(setup_.run_dir, *setup_.disk));
  epoch_ = address.epoch;
  CANDOR_ASSIGN(coordinator_, setup_.transport->Connect(address.endpoint, Role::kRollout, Role::kCoordinator, kMaxControlBytes));
  caller_ = std::make_unique<Caller>(*coordinator_, setup_.run_id, setup_.worker, *setup_.clock);
  Hello hello;
  hello.role = "rollout", hello.worker = setup_.worker, hello.incarnation = setup_.incarnation, hello.open_leases = book_.Open();
  hello.host = NodeName();
  CANDOR_ASSIGN(const Welcome welcome, caller_->Ask<Welcome>(std::move(hello), "hello", setup_.call_deadline_ms));
  backoff_ms_ = setup_.backoff_first_ms;
  if (welcome.finished) finished_ = true;
  spdlog::info("joined run {} at {} (epoch {})", welcome.run_id, address.endpoint, welcome.epoch);
  next_beat_ms_ = next_lease_ms_ = 0;
  return {};
}

Status RolloutLink::Talk() {
  CANDOR_TRY(ReportFailures());
  if (setup_.clock->SteadyMs() >= next_beat_ms_) {
    next_beat_ms_ = setup_.clock->SteadyMs() + setup_.heartbeat_ms;
    CANDOR_TRY(Beat());
  }
  if (setup_.clock->SteadyMs() >= next_lease_ms_ && book_.FreeGroups() > 0) CANDOR_TRY(AskForLeases());
  return {};
}

Status RolloutLink::ReportFailures() {
  for (GroupFailed& failure : book_.TakeFailures()) failures_.push_back(std::move(failure));
  while (!failures_.empty()) {
    GroupFailed failure = failures_.front();
    failure.worker = setup_.worker;
    spdlog::warn("group {} failed: {}", failure.group.value, failure.reason);
    CANDOR_ASSIGN(const Ack ack, caller_->Ask<Ack>(std::move(failure), "group failed", setup_.call_deadline_ms));
    if (!ack.accepted) spdlog::info("coordinator: {}", ack.reason);
    failures_.erase(failures_.begin());
  }
  return {};
}

Status RolloutLink::Beat() {
  WorkerHeartbeat beat;
  beat.worker = setup_.worker, beat.incarnation = setup_.incarnation, beat.open_leases = book_.Open();
  {
    const std::scoped_lock lock(mutex_);
    beat.metrics = metrics_;
  }
  CANDOR_ASSIGN(const HeartbeatReply reply, caller_->Ask<HeartbeatReply>(std::move(beat), "heartbeat", setup_.call_deadline_ms));
  book_.SetNewest(reply.newest);
  book_.SetRewardEndpoints(reply.reward_endpoints);
  ForgetRewards(reply.reward_endpoints);
  book_.Cancel(reply.cancelled);
  if (!reply.cancelled.empty()) spdlog::info("{} leases were taken back", reply.cancelled.size());
  if (reply.finished) finished_ = true;
  return {};
}

Status RolloutLink::AskForLeases() {
  LeaseRequest request;
  request.worker = setup_.worker, request.incarnation = setup_.incarnation, request.free_groups = book_.FreeGroups();
  {
    const std::scoped_lock lock(mutex_);
    request.loaded_version = loaded_;
  }
  FaultPoint("lease.request");
  CANDOR_ASSIGN(const LeaseGrant grant, caller_->Ask<LeaseGrant>(std::move(request), "leases", setup_.call_deadline_ms));
  FaultPoint("lease.granted");
  book_.SetNewest(grant.newest);
  book_.Add(grant.leases);
  next_lease_ms_ = setup_.clock->SteadyMs() + (grant.leases.empty() ? kLeasePauseMs : 0);
  if (!grant.leases.empty())
    spdlog::debug("leases groups={} first={} wave={}", grant.leases.size(), grant.leases.front().group.value,
                  grant.leases.front().wave.value);
  if (grant.waiting_for != waiting_for_ && grant.leases.empty() && !grant.waiting_for.empty())
    spdlog::info("waiting for {}", grant.waiting_for);
  if (grant.leases.empty()) waiting_for_ = grant.waiting_for;
  if (grant.finished) finished_ = true;
  return {};
}

}  // namespace candor
