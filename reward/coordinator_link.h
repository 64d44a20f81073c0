// The reward worker's line to the coordinator: says hello with what is spooled, sends the header of every scored group until it is
// acknowledged, and does with the spool what the acknowledgements say. When the coordinator is gone everything is kept and tried again
// after 1, 2, 4 .. 32 s, or at once when RUN_DIR/endpoint.<n> names a newer one; a new coordinator is told of every spooled group again
// (headers are idempotent).
//
// Thread rule: Run belongs to one thread; Announce and Stop may come from any.
#pragma once
#include <atomic>
#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "core/clock.h"
#include "core/disk.h"
#include "core/transport.h"
#include "proto/messages.h"
#include "reward/spool.h"

namespace candor {

struct LinkSetup {
  std::string run_dir, run_id, worker, endpoint;  // endpoint: where this worker serves
  Incarnation incarnation;
  Transport* transport = nullptr;
  const std::atomic<bool>* stop = nullptr;
  uint64_t steps = 0;  // of the run; with them, RUN_DIR tells that the run is over when no coordinator is left to say it
  int backoff_first_ms = 1000;
  int backoff_last_ms = 32000;
  int call_deadline_ms = 2000;  // then the coordinator counts as gone
  int heartbeat_ms = 2000;
  int nap_ms = 20;  // how soon a new header or a stop is noticed
  Clock* clock = &SystemClock::Get();
  Disk* disk = &SystemDisk();
};

class CoordinatorLink {
 public:
  CoordinatorLink(LinkSetup setup, Spool& spool) : setup_(std::move(setup)), spool_(spool) {}

  // The header is sent until it is acknowledged. The group must be in the spool.
  void Announce(GroupScored header);
  // A spooled group was written a second time: the coordinator had it generated again (a plan could not fetch it) and waits for its header.
  void AnnounceAgain(GroupId group);
  // Until stop, or until the coordinator says that the run is finished.
  void Run();
  void Stop() { stopped_ = true; }
  bool finished() const { return finished_; }
  // Why this worker may not go on (its name was taken by a newer process, another run, another protocol); nullopt while it may.
  std::optional<Error> refused() const;
  // Groups that are spooled here and not acknowledged yet.
  size_t unacknowledged() const;

 private:
  void Serve(uint64_t epoch, const std::string& endpoint);
  Status Greet(Caller& caller, uint64_t epoch);
  Status SendHeaders(Caller& caller);
  Status Beat(Caller& caller);
  void Apply(GroupId group, const Ack& ack);
  void Forget(const std::vector<GroupId>& groups);
  void TakeRefusal(const Error& error);
  bool Stopping() const { return finished_ || stopped_ || setup_.stop->load(); }

  const LinkSetup setup_;
  Spool& spool_;
  std::atomic<bool> finished_ = false, stopped_ = false;
  bool greeted_ = false;
  uint64_t greeted_epoch_ = 0;
  mutable std::mutex mutex_;
  std::optional<Error> refused_;
  // Of everything that is spooled: there may be many thousands, so that nothing walks through them per message.
  std::map<GroupId, GroupScored> headers_;
  std::set<GroupId> unacknowledged_;
  std::optional<StepId> released_;  // what the newest acknowledgement let go
};

}  // namespace candor
