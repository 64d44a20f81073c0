#include "rollout/link/lease_book.h"

#include <algorithm>

namespace candor {
namespace {

bool Allows(const Lease& lease, PolicyVersion version) { return lease.min_version <= version && version <= lease.max_version; }

}  // namespace

void LeaseBook::Add(const std::vector<Lease>& leases) {
  const std::scoped_lock lock(mutex_);
  for (const Lease& lease : leases) {
    traces_per_group_ = std::max<size_t>(1, lease.traces + lease.greedy_traces);
    auto [at, fresh] = entries_.try_emplace(lease.group);
    if (!fresh && at->second.phase != Phase::kWaiting) {  // granted again: only where to send it can have changed
      at->second.lease.reward_endpoint = lease.reward_endpoint;
      at->second.due_ms = 0;
      continue;
    }
    at->second.lease = lease;
    if (fresh) order_.push_back(lease.group);
  }
}

void LeaseBook::SetNewest(const VersionInfo& newest) {
  const std::scoped_lock lock(mutex_);
  newest_ = newest;
}

void LeaseBook::SetRewardEndpoints(const std::vector<std::string>& endpoints) {
  const std::scoped_lock lock(mutex_);
  reward_endpoints_ = endpoints;
}

void LeaseBook::Cancel(const std::vector<GroupId>& groups) {
  const std::scoped_lock lock(mutex_);
  for (GroupId group : groups) {
    const auto at = entries_.find(group);
    if (at == entries_.end()) continue;
    if (at->second.phase == Phase::kRunning) cancelled_.push_back(group);
    entries_.erase(at);
    std::erase(order_, group);
  }
}

uint32_t LeaseBook::FreeGroups() const {
  const std::scoped_lock lock(mutex_);
  size_t open = 0, done = 0;
  for (const auto& [group, entry] : entries_) entry.phase == Phase::kDone ? ++done : ++open;
  if (done >= options_.unspooled_max) return 0;
  if (traces_per_group_ == 0) return open == 0 ? 1 : 0;  // the first lease tells how large groups are
  const size_t wanted = (static_cast<size_t>(options_.max_batch) * 5 / 4 + traces_per_group_ - 1) / traces_per_group_ + 1;
  return static_cast<uint32_t>(wanted > open ? wanted - open : 0);
}

std::vector<OpenLease> LeaseBook::Open() const {
  const std::scoped_lock lock(mutex_);
  std::vector<OpenLease> open;
  for (const auto& [group, entry] : entries_) open.push_back({group, entry.tokens});
  return open;
}

std::vector<DueGroup> LeaseBook::TakeDue(int64_t now_ms) {
  const std::scoped_lock lock(mutex_);
  std::vector<DueGroup> due;
  for (auto& [group, entry] : entries_) {
    if (entry.phase != Phase::kDone || entry.due_ms > now_ms) continue;
    std::string endpoint = entry.lease.reward_endpoint;
    const bool known = std::find(reward_endpoints_.begin(), reward_endpoints_.end(), endpoint) != reward_endpoints_.end();
    if (!known && !reward_endpoints_.empty()) endpoint = reward_endpoints_[group.value % reward_endpoints_.size()];
    if (endpoint.empty()) continue;
    entry.resend_ms = entry.resend_ms == 0 ? options_.resend_first_ms : std::min(entry.resend_ms * 2, options_.resend_last_ms);
    entry.due_ms = now_ms + entry.resend_ms;
    due.push_back({endpoint, entry.result});
  }
  return due;
}

void LeaseBook::Spooled(GroupId group) {
  const std::scoped_lock lock(mutex_);
  const auto at = entries_.find(group);
  if (at != entries_.end() && at->second.phase == Phase::kDone) entries_.erase(at);
}

std::vector<GroupFailed> LeaseBook::TakeFailures() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(failures_, {});
}

size_t LeaseBook::unspooled() const {
  const std::scoped_lock lock(mutex_);
  return static_cast<size_t>(std::count_if(entries_.begin(), entries_.end(), [](const auto& e) { return e.second.phase == Phase::kDone; }));
}

bool LeaseBook::MaySwap(PolicyVersion target, bool idle) const {
  if (idle) return true;
  return options_.swap_in_flight && std::all_of(entries_.begin(), entries_.end(), [&](const auto& e) {
           return e.second.phase != Phase::kRunning || target <= e.second.lease.max_version;
         });
}

EngineMove LeaseBook::Next(std::optional<PolicyVersion> loaded, bool idle) const {
  const std::scoped_lock lock(mutex_);
  if (order_.empty()) return {};
  const auto held = [this](GroupId group) { return std::find(cancelled_.begin(), cancelled_.end(), group) != cancelled_.end(); };
  for (GroupId group : order_) {
    const Lease& lease = entries_.at(group).lease;
    if (held(group)) continue;  // granted again before the engine let go of it
    if (!loaded || !Allows(lease, *loaded)) continue;
    const bool fresher = *loaded < newest_.version && Allows(lease, newest_.version) && (!wave_ || *wave_ != lease.wave);
    if (!fresher) return {EngineMove::Kind::kSubmit, lease, {}};
    if (MaySwap(newest_.version, idle)) return {EngineMove::Kind::kLoad, lease, newest_.version};
    return {};
  }
  const auto first = std::find_if_not(order_.begin(), order_.end(), held);
  if (first == order_.end()) return {};
  const Lease& lease = entries_.at(*first).lease;
  const PolicyVersion target = std::min(newest_.version, lease.max_version);
  if (newest_.manifest.empty() || !Allows(lease, target) || !MaySwap(target, idle)) return {};
  return {EngineMove::Kind::kLoad, lease, target};
}

std::optional<PolicyVersion> LeaseBook::Foreseen(std::optional<PolicyVersion> loaded) const {
  const EngineMove move = Next(loaded, true);
  if (move.kind == EngineMove::Kind::kLoad) return move.version;
  const std::scoped_lock lock(mutex_);
  const bool newer = !newest_.manifest.empty() && (!loaded || *loaded < newest_.version);
  return order_.empty() && newer ? std::optional(newest_.version) : std::nullopt;
}

void LeaseBook::Settle(StepId wave) {
  const std::scoped_lock lock(mutex_);
  wave_ = wave;
}

void LeaseBook::Started(GroupId group) {
  const std::scoped_lock lock(mutex_);
  std::erase(order_, group);
  const auto at = entries_.find(group);
  if (at == entries_.end()) {  // cancelled between the look and the start
    cancelled_.push_back(group);
    return;
  }
  at->second.phase = Phase::kRunning;
  wave_ = at->second.lease.wave;
}

void LeaseBook::Progress(const std::map<GroupId, uint64_t>& tokens) {
  const std::scoped_lock lock(mutex_);
  for (const auto& [group, count] : tokens)
    if (const auto at = entries_.find(group); at != entries_.end()) at->second.tokens = count;
}

void LeaseBook::Finished(TraceGroup group) {
  const std::scoped_lock lock(mutex_);
  const auto at = entries_.find(group.id);
  if (at == entries_.end() || at->second.phase != Phase::kRunning) return;  // cancelled meanwhile, perhaps granted again
  at->second.phase = Phase::kDone;
  at->second.tokens = 0;
  for (const Trace& trace : group.traces_G) at->second.tokens += trace.tokens_T.size();
  at->second.result = std::move(group);
}

void LeaseBook::Failed(GroupId group, const std::string& reason, bool final) {
  const std::scoped_lock lock(mutex_);
  if (entries_.erase(group) == 0) return;
  std::erase(order_, group);
  failures_.push_back({group, "", reason, final});
}

std::vector<GroupId> LeaseBook::TakeCancelled() {
  const std::scoped_lock lock(mutex_);
  return std::exchange(cancelled_, {});
}

bool LeaseBook::HasWaiting() const {
  const std::scoped_lock lock(mutex_);
  return !order_.empty();
}

VersionInfo LeaseBook::newest() const {
  const std::scoped_lock lock(mutex_);
  return newest_;
}

}  // namespace candor
