// What a reward worker does with messages: takes trace groups, has them scored, spools them, answers, and serves them to trainer ranks. The
// rules of worker.h stand here, without threads and without verifiers, so that the simulation runs this very code.
//
// Thread rule: Run and AnnounceSpooled belong to one thread.
#pragma once
#include <atomic>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/transport.h"
#include "proto/messages.h"
#include "reward/coordinator_link.h"
#include "reward/grading_pool.h"
#include "reward/scorer.h"
#include "reward/spool.h"
#include "text/rows.h"

namespace candor {

struct RewardServerSetup {
  std::string run_id, worker;  // run_id: "" takes any
  std::string signal;          // of ScoreRules, for MakeHeader
  size_t max_in_flight = 64;   // groups accepted and not on disk
  std::map<std::string, const DataSet*> data;
  const std::atomic<bool>* stop = nullptr;
  Clock* clock = &SystemClock::Get();
  int busy_wait_ms = 5;   // how soon a group that was just graded is spooled
  int idle_wait_ms = 50;  // how soon a stop is noticed
};

class RewardServer {
 public:
  RewardServer(RewardServerSetup setup, MessageServer& server, Spool& spool, Grader& grader, CoordinatorLink& link)
      : setup_(std::move(setup)), server_(server), spool_(spool), grader_(grader), link_(link) {}

  // Headers of what an earlier life of this worker left on disk.
  void AnnounceSpooled();
  // Until a stop, or until the coordinator says that the run is finished.
  Status Run();

 private:
  struct Sender {
    std::string peer;
    uint64_t sequence = 0;
  };
  void Handle(const IncomingMessage& incoming);
  void TakeGroup(const Sender& sender, TraceGroup group);
  void ServeFetch(const Sender& sender, const FetchGroup& fetch);
  void SpoolFinished();
  bool SpoolOne(const ScoredGroup& scored);
  void Reply(const Sender& to, MessageBody body);
  Error WrongRole(Role role, const std::string& what) const;
  const DataRow* FindRow(const PromptRef& prompt) const;
  SpoolPlace PlaceOf(const SpooledGroup& entry) const { return {setup_.worker, server_.endpoint(), entry.hash, entry.payload_bytes}; }

  const RewardServerSetup setup_;
  MessageServer& server_;
  Spool& spool_;
  Grader& grader_;
  CoordinatorLink& link_;
  std::map<GroupId, Sender> in_flight_;  // accepted, not on disk; whom to tell
  std::vector<ScoredGroup> unspooled_;   // scored, not on disk; at most max_in_flight
  bool disk_refuses_ = false;
  int64_t retry_ms_ = 0;
};

}  // namespace candor
