// What a rollout worker has in hand: leases that wait, groups that the engine is on, results that the reward tier has not spooled yet; and
// what to do next about versions. Plain state, no I/O; the engine's thread and the link's thread both use it, so every method takes the
// lock.
//
// Version rule: a group may be written by versions in [min_version, max_version] of its lease. Weights are swapped between groups: when the
// lease at hand cannot be written by what is loaded, or when a new wave begins and newer weights are there that it may use. With
// swap_in_flight the swap does not wait for running traces. A result stays here until it is spooled or its lease is cancelled, whoever is
// gone meanwhile.
#pragma once
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "proto/messages.h"

namespace candor {

struct LeaseBookOptions {
  int64_t max_batch = 64;
  bool swap_in_flight = false;
  int64_t resend_first_ms = 2000;  // a result without an answer is sent again after 2, 4, 8, 8 .. s
  int64_t resend_last_ms = 8000;
  size_t unspooled_max = 64;  // no new leases while so many results wait for the reward tier
};

// What the engine should do now.
struct EngineMove {
  enum class Kind : uint8_t { kWait = 0, kSubmit = 1, kLoad = 2 };
  Kind kind = Kind::kWait;
  Lease lease;            // kSubmit; kLoad: the lease that asks for it
  PolicyVersion version;  // kLoad
};

// A result that is due to be sent.
struct DueGroup {
  std::string endpoint;
  TraceGroup group;
};

class LeaseBook {
 public:
  explicit LeaseBook(const LeaseBookOptions& options) : options_(options) {}

  // --- the link's side
  void Add(const std::vector<Lease>& leases);
  void SetNewest(const VersionInfo& newest);
  void SetRewardEndpoints(const std::vector<std::string>& endpoints);
  void Cancel(const std::vector<GroupId>& groups);
  uint32_t FreeGroups() const;
  std::vector<OpenLease> Open() const;
  std::vector<DueGroup> TakeDue(int64_t now_ms);
  // The group is safe with the reward tier.
  void Spooled(GroupId group);
  std::vector<GroupFailed> TakeFailures();
  size_t unspooled() const;

  // --- the engine's side
  // `loaded`: the version in the engine, nullopt before the first; `idle`: no trace runs.
  EngineMove Next(std::optional<PolicyVersion> loaded, bool idle) const;
  // The version that Next would have loaded by an idle engine, or the newest while no lease waits; nullopt: none but the loaded one.
  std::optional<PolicyVersion> Foreseen(std::optional<PolicyVersion> loaded) const;
  // A version was loaded for the sake of this wave: its groups are written now, though a still newer one may have come meanwhile.
  void Settle(StepId wave);
  void Started(GroupId group);
  void Progress(const std::map<GroupId, uint64_t>& tokens);
  void Finished(TraceGroup group);
  // The group cannot be written here. Also used by the link when the reward tier refuses it.
  void Failed(GroupId group, const std::string& reason, bool final);
  std::vector<GroupId> TakeCancelled();
  VersionInfo newest() const;
  bool HasWaiting() const;

 private:
  enum class Phase : uint8_t { kWaiting, kRunning, kDone };
  struct Entry {
    Lease lease;
    Phase phase = Phase::kWaiting;
    uint64_t tokens = 0;
    TraceGroup result;
    int64_t due_ms = 0;
    int64_t resend_ms = 0;
  };
  bool MaySwap(PolicyVersion target, bool idle) const;

  const LeaseBookOptions options_;
  mutable std::mutex mutex_;
  std::map<GroupId, Entry> entries_;
  std::vector<GroupId> order_;  // waiting leases in the order of their arrival
  std::vector<GroupId> cancelled_;
  std::vector<GroupFailed> failures_;
  std::vector<std::string> reward_endpoints_;
  VersionInfo newest_;
  std::optional<StepId> wave_;   // of the last group that was started
  size_t traces_per_group_ = 0;  // of the last lease
};

}  // namespace candor
