// The books, balanced from the ledger alone: a second reading of the records that shares nothing with the state machine, so that the two
// can check each other.
#pragma once
#include <map>
#include <set>
#include <string>
#include <vector>

#include "coordinator/ledger_record.h"
#include "coordinator/run_plan.h"

namespace candor {

struct Balance {
  uint64_t issued = 0, trained = 0, evaluated = 0, dropped = 0, in_flight = 0;
  uint64_t reopened = 0, voided_plans = 0, segments = 1;
  std::map<std::string, uint64_t> dropped_by_reason;
  std::map<uint64_t, uint64_t> trained_by_step;
  uint64_t last_step = 0;
  bool finished = false;
  std::vector<std::string> violations;  // rules that the ledger breaks, the first 100
  // issued = trained + dropped + evaluated + in flight, nothing ended twice, and nothing in flight after the end.
  bool Balances() const;
};

class Auditor {
 public:
  explicit Auditor(const RunPlan& plan) : plan_(plan) {}
  void Add(const LedgerRecord& record);
  Balance Result() const;

 private:
  friend struct AuditStep;
  void Complain(std::string what);
  void End(GroupId id, const std::string& how);
  void ForgetEvalsBehind(uint64_t version);

  const RunPlan plan_;
  std::map<GroupId, std::string> ends_;    // "trained", "evaluated" or a drop reason
  std::map<GroupId, GroupScored> scored_;  // and not reopened since
  std::map<uint64_t, StepPlan> plans_;
  std::set<uint64_t> versions_, plan_ids_;
  std::map<uint64_t, uint32_t> extended_;  // wave -> groups added to it
  uint64_t last_step_ = 0, furthest_step_ = 0, segment_ = 1;
  uint64_t checkpointed_ = 0, covered_ = 0;  // groups of steps up to covered_ were let go
  Balance balance_;
};

std::string BalanceText(const Balance& balance);
std::string BalanceJson(const Balance& balance);

}  // namespace candor
