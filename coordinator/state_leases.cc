// Who generates what: membership, leases, heartbeats. All of it is soft; after a restart workers announce themselves and their leases
// again.
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/state.h"
#include "core/check.h"

namespace candor {

namespace {
constexpr uint32_t kMembersMax = 100000;
constexpr size_t kWorkerNameMax = 200;
}  // namespace

size_t CoordinatorState::PastLives() const {
  size_t lives = 0;
  for (const auto& [worker, past] : superseded_) lives += past.size();
  return lives;
}

bool CoordinatorState::RefusesPastLife(const std::string& worker, Incarnation incarnation) {
  const auto past = superseded_.find(worker);
  if (past == superseded_.end()) return false;
  const auto life = std::find(past->second.begin(), past->second.end(), incarnation);
  if (life == past->second.end()) return false;
  std::rotate(life, life + 1, past->second.end());  // heard: others are forgotten before it
  return true;
}

// Makes `worker` a member in this incarnation, or finds it. A name belongs to its newest life: an older one that speaks up is refused
// (kPastLivesKept).
Result<MemberState*> CoordinatorState::Join(Role role, const std::string& worker, Incarnation incarnation, int64_t now_ms) {
  if (worker.empty() || worker.size() > kWorkerNameMax)
    return Fail(ErrorCode::kInvalidInput, "a worker needs a name of at most 200 bytes", worker.substr(0, 40));
  if (RefusesPastLife(worker, incarnation))
    return Fail(ErrorCode::kUnauthorized, "another process has taken this worker's name", worker,
                "stop one of the two, or give them different names");
  auto [at, fresh] = members_.try_emplace(worker);
  MemberState& member = at->second;
  if (fresh && members_.size() > kMembersMax) {
    members_.erase(at);
    return Fail(ErrorCode::kUnavailable, "too many workers", worker);
  }
  if (!fresh && member.role != role)
    return Fail(ErrorCode::kUnauthorized, fmt::format("this name belongs to a {}", Name(member.role)), worker);
  if (!fresh && member.incarnation != incarnation) {
    std::vector<Incarnation>& past = superseded_[worker];
    past.push_back(member.incarnation);
    if (past.size() > kPastLivesKept) past.erase(past.begin());
    for (GroupId id : std::set<GroupId>(member.leases)) SetPhase(id, groups_.at(id), GroupPhase::kOpen);
    member = {};
    fresh = true;
  }
  if (fresh) {
    if (role == Role::kReward) reward_endpoints_.reset();
    member.role = role;
    member.incarnation = incarnation;
    member.joined_ms = now_ms;
    lost_.erase(worker);
  }
  member.heard_ms = now_ms;
  return &member;
}

CoordinatorState::RuleResult CoordinatorState::OnHello(Role role, const Hello& hello, int64_t now_ms, Actions& actions) {
  if (hello.role != Name(role))
    return Fail(ErrorCode::kUnauthorized, fmt::format("the key is a {}'s, the hello a {}'s", Name(role), hello.role), hello.worker);
  auto before = members_.find(hello.worker);
  const bool known = before != members_.end() && before->second.incarnation == hello.incarnation;
  CANDOR_ASSIGN(MemberState * member, Join(role, hello.worker, hello.incarnation, now_ms));
  if (role == Role::kReward && member->endpoint != hello.endpoint) reward_endpoints_.reset();
  member->endpoint = hello.endpoint, member->host = hello.host;
  std::vector<GroupId> cancelled;  // heard with the next heartbeat
  AdoptLeases(hello.worker, *member, hello.open_leases, now_ms, cancelled);
  if (role == Role::kReward && !known) ReconcileSpool(hello.worker, hello.spooled, actions);
  if (!known) actions.events.push_back(fmt::format("{} joined (incarnation {})", hello.worker, hello.incarnation.value));
  return Welcome{plan_.run_id, segment_, epoch_, newest_version(), last_done_, finished_};
}

// A reward worker came back: what we think it holds but it does not list is lost, and is generated again unless a plan names it (then the
// vote decides).
void CoordinatorState::ReconcileSpool(const std::string& worker, const std::vector<GroupId>& spooled, Actions& actions) {
  const std::set<GroupId> held(spooled.begin(), spooled.end());
  std::set<GroupId> planned;
  for (auto logged = plans_.upper_bound(last_done_); logged != plans_.end(); ++logged)
    for (const PlannedGroup& group : logged->second.plan.groups) planned.insert(group.group);
  std::vector<GroupId> lost;
  for (GroupId id : scored_)
    if (const GroupState& group = groups_.at(id);
        group.header && group.header->reward_worker == worker && !held.count(id) && !planned.count(id))
      lost.push_back(id);
  for (GroupId id : lost) Commit(actions, GroupReopened{id, worker + " came back without it"});
  if (!lost.empty()) actions.events.push_back(fmt::format("{} lost {} spooled groups: they are leased again", worker, lost.size()));
}

// Asked for by every heartbeat and lease request, changed by few of them.
const std::vector<std::string>& CoordinatorState::RewardEndpoints() {
  if (reward_endpoints_) return *reward_endpoints_;
  reward_endpoints_.emplace();
  for (const auto& [name, member] : members_)
    if (member.role == Role::kReward && !member.endpoint.empty()) reward_endpoints_->push_back(member.endpoint);
  std::sort(reward_endpoints_->begin(), reward_endpoints_->end());
  return *reward_endpoints_;
}

std::string CoordinatorState::LeaseObstacle(GroupId id, const GroupState& group) const {
  const PolicyVersion oldest = OldestVersionFor(group, id);
  const bool exact = plan_.deterministic || IsEvalGroup(id);
  const bool announced = exact ? versions_.count(oldest) > 0 : !versions_.empty() && oldest <= newest_version();
  if (!announced) return fmt::format("policy version {}", oldest.value);
  if (!IsEvalGroup(id) && group.wave.value > last_done_.value + 1 + plan_.staleness)
    return fmt::format("step {} (staleness bound {})", group.wave.value - 1 - plan_.staleness, plan_.staleness);
  return "";
}

Lease CoordinatorState::LeaseOf(GroupId id, const GroupState& group) const {
  const bool eval = IsEvalGroup(id);
  return {id,
          group.prompt,
          group.wave,
          eval ? 0 : plan_.group_size,
          eval ? 1 : plan_.greedy_traces,
          OldestVersionFor(group, id),
          NewestVersionFor(group, id),
          group.reward_endpoint};
}

void CoordinatorState::Grant(GroupId id, GroupState& group, const std::string& worker, const std::string& reward_endpoint, int64_t now_ms) {
  SetPhase(id, group, GroupPhase::kLeased);
  group.worker = worker;
  group.reward_endpoint = reward_endpoint;
  group.tokens_done = 0;
  group.granted_ms = group.progress_ms = now_ms;
  members_.at(worker).leases.insert(id);
}

// Forgets the lease; the caller sets the phase.
void CoordinatorState::Release(GroupId id, GroupState& group) {
  auto member = members_.find(group.worker);
  if (member != members_.end()) member->second.leases.erase(id);
  std::string().swap(group.worker);  // gives its memory back, which clear() does not: most groups are never leased again
  std::string().swap(group.reward_endpoint);
  group.tokens_done = 0;
}

CoordinatorState::RuleResult CoordinatorState::OnLeaseRequest(uint64_t request_id, const LeaseRequest& request, int64_t now_ms) {
  CANDOR_ASSIGN(MemberState * member, Join(Role::kRollout, request.worker, request.incarnation, now_ms));
  LeaseGrant grant;
  grant.newest = NewestInfo();
  grant.finished = finished_;
  const bool doubled = member->lease_request == request_id && !member->last_granted.empty();
  std::vector<GroupId> granted;
  const std::vector<std::string>& rewards = RewardEndpoints();
  if (doubled) {
    for (GroupId id : member->last_granted)
      if (member->leases.count(id)) granted.push_back(id);
  } else if (finished_) {
    grant.waiting_for = "nothing: the run is finished";
  } else if (rewards.empty()) {
    grant.waiting_for = "a reward worker";
  } else if (now_ms < hold_leases_until_ms_) {
    grant.waiting_for = "workers that announce their leases after the coordinator's restart";
  } else {
    const size_t most = std::min(request.free_groups, limits_.leases_per_grant_max);
    // Evaluations first: their policy version is newest now and will not stay.
    for (bool eval : {true, false}) {
      auto at = eval ? open_.lower_bound(MakeEvalGroupId(0, {0}, 0)) : open_.begin();
      for (; at != open_.end() && granted.size() < most && IsEvalGroup(*at) == eval; ++at) {
        std::string obstacle = LeaseObstacle(*at, groups_.at(*at));
        if (obstacle.empty())
          granted.push_back(*at);
        else if (grant.waiting_for.empty())
          grant.waiting_for = obstacle;
        if (!obstacle.empty() && !eval) break;  // later waves wait for the same or more
      }
    }
    for (GroupId id : granted) Grant(id, groups_.at(id), request.worker, rewards[id.value % rewards.size()], now_ms);
    if (granted.size() < most && grant.waiting_for.empty())
      grant.waiting_for = last_done_.value < plan_.steps
                              ? fmt::format("step {} (staleness bound {})", last_done_.value + 1, plan_.staleness)
                              : "evaluations at other workers";
    if (granted.size() == most) grant.waiting_for.clear();
  }
  for (GroupId id : granted) grant.leases.push_back(LeaseOf(id, groups_.at(id)));
  member->lease_request = request_id;
  member->last_granted = granted;
  NoteWaiting(request.worker, grant.waiting_for, now_ms);
  return grant;
}

// What a worker says it is at: leases of its own make progress, open ones become its own (after our restart), all others are taken from it.
void CoordinatorState::AdoptLeases(const std::string& worker, MemberState& member, const std::vector<OpenLease>& open, int64_t now_ms,
                                   std::vector<GroupId>& cancelled) {
  for (const OpenLease& lease : open) {
    GroupState* group = Find(lease.group);
    if (group && group->phase == GroupPhase::kOpen && LeaseObstacle(lease.group, *group).empty())
      Grant(lease.group, *group, worker, "", now_ms);
    if (!group || group->phase != GroupPhase::kLeased || group->worker != worker) {
      cancelled.push_back(lease.group);
      continue;
    }
    if (lease.tokens_done > group->tokens_done) group->progress_ms = now_ms;
    group->tokens_done = std::max(group->tokens_done, lease.tokens_done);
  }
  // Queued leases have no tokens yet; they live as long as the worker gets on with others.
  int64_t newest_progress = 0;
  for (GroupId id : member.leases) newest_progress = std::max(newest_progress, groups_.at(id).progress_ms);
  for (GroupId id : member.leases)
    if (GroupState& group = groups_.at(id); group.tokens_done == 0) group.progress_ms = newest_progress;
}

CoordinatorState::RuleResult CoordinatorState::OnHeartbeat(Role role, const WorkerHeartbeat& heartbeat, int64_t now_ms) {
  CANDOR_ASSIGN(MemberState * member, Join(role, heartbeat.worker, heartbeat.incarnation, now_ms));
  if (role == Role::kReward && member->endpoint.empty())
    return Fail(ErrorCode::kNotFound, "this coordinator does not know where the reward worker listens", heartbeat.worker,
                "say hello first");
  member->metrics = heartbeat.metrics;
  HeartbeatReply reply;
  AdoptLeases(heartbeat.worker, *member, heartbeat.open_leases, now_ms, reply.cancelled);
  // A lease that the worker does not list although the grant must have arrived long ago: the grant was lost, or the worker dropped it.
  std::set<GroupId> listed;
  for (const OpenLease& lease : heartbeat.open_leases) listed.insert(lease.group);
  for (GroupId id : std::set<GroupId>(member->leases)) {
    GroupState& group = groups_.at(id);
    if (!listed.count(id) && now_ms - group.granted_ms > limits_.lease_timeout_ms) SetPhase(id, group, GroupPhase::kOpen);
  }
  reply.newest = NewestInfo();
  reply.reward_endpoints = RewardEndpoints();
  reply.finished = finished_;
  return reply;
}

CoordinatorState::RuleResult CoordinatorState::OnGroupFailed(const GroupFailed& failed, Actions& actions) {
  GroupState* group = Find(failed.group);
  Ack ack;
  ack.spool_release_through = covered_;
  ack.finished = finished_;
  const bool theirs = group && group->phase == GroupPhase::kLeased && group->worker == failed.worker;
  const bool unheld = group && failed.final && group->phase == GroupPhase::kOpen;
  if (!theirs && !unheld) {
    ack.reason = "not leased by this worker: nothing to do";
    return ack;
  }
  ++group->failures;
  if (failed.final || group->failures >= limits_.failures_max) {
    Commit(actions, GroupDropped{failed.group, DropReason::kFailed, failed.reason});
    actions.events.push_back(fmt::format("group {} is dropped after {} failures: {}", failed.group.value, group->failures, failed.reason));
  } else {
    SetPhase(failed.group, *group, GroupPhase::kOpen);
    actions.events.push_back(
        fmt::format("group {} failed at {} and is leased again: {}", failed.group.value, failed.worker, failed.reason));
  }
  return ack;
}

void CoordinatorState::LoseMember(const std::string& worker, Actions& actions) {
  MemberState& member = members_.at(worker);
  actions.events.push_back(fmt::format("{} is silent: {} leases go to others", worker, member.leases.size()));
  for (GroupId id : std::set<GroupId>(member.leases)) SetPhase(id, groups_.at(id), GroupPhase::kOpen);
  waiting_.erase(worker);
  if (member.role == Role::kReward) reward_endpoints_.reset();
  lost_[worker] = {member.role, member.heard_ms};
  members_.erase(worker);
}

void CoordinatorState::ExpireLeases(int64_t now_ms, Actions& actions) {
  std::vector<std::string> silent;
  for (const auto& [name, member] : members_) {
    if (member.SendsHeartbeats() && now_ms - member.heard_ms > limits_.lease_timeout_ms) silent.push_back(name);
  }
  for (const std::string& name : silent) LoseMember(name, actions);
  std::erase_if(lost_, [&](const auto& one) { return now_ms - one.second.heard_ms > kLostKeptMs; });
  std::erase_if(superseded_, [&](const auto& one) { return !members_.count(one.first) && !lost_.count(one.first); });
  const std::vector<std::string>& rewards = RewardEndpoints();
  for (auto& [name, member] : members_) {
    for (auto lease = member.leases.begin(); lease != member.leases.end();) {
      const GroupId id = *lease++;  // the lease may go
      GroupState& group = groups_.at(id);
      // Its reward worker is gone or moved: a finished group cannot be handed over there.
      const bool stranded = !group.reward_endpoint.empty() && !std::binary_search(rewards.begin(), rewards.end(), group.reward_endpoint);
      if (now_ms - group.progress_ms <= (stranded ? limits_.lease_timeout_ms : limits_.progress_timeout_ms)) continue;
      actions.events.push_back(fmt::format("group {} makes no progress at {} and is leased again", id.value, name));
      SetPhase(id, group, GroupPhase::kOpen);
    }
  }
}

}  // namespace candor
