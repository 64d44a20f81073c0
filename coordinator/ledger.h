// The ledger on disk. Each incarnation of the coordinator takes an epoch and writes a store of its own, RUN_DIR/ledger/N, cloned from the
// last complete one, so that a fenced-off older incarnation can never write into ours. A commit is durable, and only then is the epoch
// checked again: what a replaced incarnation wrote after that was never acknowledged.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/ledger_record.h"
#include "coordinator/run_plan.h"
#include "coordinator/store.h"
#include "core/epoch.h"

namespace candor {

class Ledger {
 public:
  // Takes an epoch, clones, and checks that the ledger belongs to this plan.
  static Result<std::unique_ptr<Ledger>> Open(const std::string& run_dir, const RunPlan& plan, const std::string& who,
                                              StoreHome& stores = RocksStores(), Disk& disk = SystemDisk());

  uint64_t epoch() const { return epoch_.number(); }
  uint64_t records() const { return next_; }
  Status ForEach(const std::function<Status(const LedgerRecord&)>& visit) const;
  // Records, and what else belongs to the same moment (the calibration record), in one batch.
  Status Commit(const std::vector<LedgerRecord>& records, StoreBatch with = {});
  // kUnavailable once a newer incarnation has taken over; Commit asks too.
  Status CheckStillOurs() const { return epoch_.CheckStillOurs(); }
  Store& store() { return *store_; }

 private:
  Ledger(Epoch epoch, std::unique_ptr<Store> store) : epoch_(std::move(epoch)), store_(std::move(store)) {}
  Epoch epoch_;
  std::unique_ptr<Store> store_;
  uint64_t next_ = 0;
};

// For readers beside a run, dead or alive: the newest complete store and the plan it was made for.
struct LedgerReader {
  std::unique_ptr<Store> store;
  RunPlan plan;
  uint64_t epoch = 0;
  Status ForEach(const std::function<Status(const LedgerRecord&)>& visit) const;
};
Result<LedgerReader> OpenNewestLedger(const std::string& run_dir);

std::string PlanToJson(const RunPlan& plan);
Result<RunPlan> PlanFromJson(const std::string& text);

}  // namespace candor
