// The invariants of a run, checked after every event from what can be seen outside: what the stores hold, what the coordinator answers,
// what the disks hold. Knows nothing of the rules inside; the ledger is read with the same Auditor as `candor ledger`.
#pragma once
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "coordinator/accounting.h"
#include "coordinator/state.h"
#include "coordinator/store.h"
#include "core/transport.h"
#include "simulation/disk.h"
#include "simulation/scheduler.h"

namespace candor::sim {

inline constexpr uint32_t kLengthMax = 48;  // tokens of a simulated trace
// How long the traces of a group are: a function of the group alone, whoever writes it and however often.
uint32_t LengthOf(uint64_t seed, GroupId id);

class Watch {
 public:
  Watch(RunPlan plan, SimDisk& disk) : plan_(std::move(plan)), disk_(disk), auditor_(std::make_unique<Auditor>(plan_)) {}

  // The first thing that was wrong; "" so far all is well.
  const std::string& failure() const { return failure_; }
  void Complain(const std::string& what) {
    if (failure_.empty()) failure_ = what;
  }

  void OnStoreWrite(const std::string& folder, const StoreBatch& batch);
  void OnReceived(const Process& server, const IncomingMessage& message);
  void OnReplied(const Process& server, const std::string& peer, const std::string& body);
  void OnState(const CoordinatorState& state);
  void OnCoordinatorStarts(const std::string& process, uint64_t epoch) { epoch_of_[process] = epoch; }
  // A rollout has loaded a version; the result of a group names versions.
  void OnLoaded(PolicyVersion version);
  // All groups have ended, the books balance, every observation is in the record once.
  void AtEnd(Store& newest);

  uint64_t records() const { return ledger_.size(); }
  uint64_t current_epoch() const { return current_; }
  uint64_t leases() const { return leases_; }
  uint64_t last_step() const { return last_step_; }
  Balance balance() const { return auditor_->Result(); }
  // How many groups of each length were issued and were trained (KS test for length bias).
  void CountLengths(std::vector<uint64_t>& issued, std::vector<uint64_t>& trained) const;

 private:
  struct Lane {  // one store
    uint64_t records = 0;
    bool complete = false;
  };
  struct Asked {
    enum Kind : uint8_t { kScored, kStep, kVersion } kind = kScored;
    uint64_t number = 0;
  };
  void TakeRecord(const std::string& bytes, bool first_time);
  void Feed(const LedgerRecord& record);
  void Switch(uint64_t epoch);
  void CheckBooks();
  void CheckGrant(const LeaseGrant& grant);
  void CheckNewest(const VersionInfo& newest);
  void CheckAck(const Asked& asked);
  void CheckSpooled(const Process& server, GroupId group);
  void CheckObservations(Store& newest);

  const RunPlan plan_;
  SimDisk& disk_;
  std::unique_ptr<Auditor> auditor_;
  std::string failure_;
  std::map<uint64_t, Lane> lanes_;  // by epoch
  uint64_t current_ = 0, acknowledged_ = 0, leases_ = 0, states_ = 0;
  std::vector<std::string> ledger_;
  std::map<std::string, uint64_t> epoch_of_;                // coordinator process -> its epoch
  std::map<std::string, std::map<uint64_t, Asked>> asked_;  // by peer and sequence number
  // What the ledger says:
  // Every hash that the ledger names for a version: a learner's next life may announce it anew while a reply with the old hash, which is
  // sent after one write for many messages, is on its way.
  std::map<uint64_t, std::set<std::string>> versions_;
  std::map<GroupId, uint32_t> observed_;  // labelled traces of its newest result
  std::set<GroupId> outcome_;             // scored or dropped, and not opened again
  std::map<uint64_t, std::vector<GroupId>> plans_;
  std::set<uint64_t> steps_ever_;
  uint64_t last_step_ = 0, furthest_ = 0;
  uint64_t checkpointed_ = 0, covered_ = 0;  // groups of steps up to covered_ were let go
};

}  // namespace candor::sim
