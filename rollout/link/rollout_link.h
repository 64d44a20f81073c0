// A rollout worker's lines: to the coordinator (hello, leases, heartbeats with token progress at least once a second, failures) and to
// reward workers (results until they are spooled). When the coordinator is gone nothing is lost: it is tried again after 1, 2, 4 .. 32 s,
// or at once when RUN_DIR/endpoint.<n> names a newer one, and results go on to the reward workers meanwhile. Run belongs to one thread,
// which owns the sockets; the engine meets it in the LeaseBook.
#pragma once
#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "core/clock.h"
#include "core/disk.h"
#include "core/transport.h"
#include "proto/messages.h"
#include "rollout/link/lease_book.h"

namespace candor {

struct RolloutLinkSetup {
  std::string run_dir, run_id, worker;
  Incarnation incarnation;
  Transport* transport = nullptr;
  const std::atomic<bool>* stop = nullptr;
  Clock* clock = &SystemClock::Get();
  Disk* disk = &SystemDisk();
  uint64_t steps = 0;  // of the run; with them, RUN_DIR tells that the run is over when no coordinator is left to say it
  int backoff_first_ms = 1000;
  int backoff_last_ms = 32000;
  int call_deadline_ms = 2000;
  int heartbeat_ms = 800;
  int nap_ms = 10;      // how soon a new result, lease or stop is noticed
  int drain_ms = 3000;  // after a stop: how long finished results may still be handed over
};

class RolloutLink {
 public:
  RolloutLink(RolloutLinkSetup setup, LeaseBook& book);
  // Until the end of the run, a stop, or the engine's end; an error when this worker may not go on (its name was taken, another protocol,
  // another run).
  Status Run(const std::atomic<bool>& engine_ended);
  bool finished() const { return finished_; }
  // What the engine has loaded and its numbers, for lease requests and heartbeats. Any thread.
  void SetEngine(PolicyVersion loaded, std::map<std::string, double> metrics);

 private:
  struct RewardPeer {
    std::unique_ptr<MessageClient> client;
    std::map<uint64_t, GroupId> sent;  // by sequence number
  };
  void ServeRewards();
  void ForgetRewards(const std::vector<std::string>& present);
  void TakeRewardReply(RewardPeer& peer, const std::string& bytes);
  Status ServeCoordinator();
  Status Connect();
  Status Talk();
  Status Beat();
  Status AskForLeases();
  Status ReportFailures();
  void NoteAway(const Error& error);

  const RolloutLinkSetup setup_;
  LeaseBook& book_;
  std::atomic<bool> finished_ = false;
  std::unique_ptr<MessageClient> coordinator_;
  std::unique_ptr<Caller> caller_;
  uint64_t epoch_ = 0;  // of the coordinator we talk to, or tried last
  int64_t next_try_ms_ = 0, next_beat_ms_ = 0, next_lease_ms_ = 0, next_look_ms_ = 0;
  int backoff_ms_ = 0;
  std::string waiting_for_;
  std::vector<GroupFailed> failures_;  // not acknowledged yet
  std::map<std::string, RewardPeer> rewards_;
  uint64_t next_sequence_ = 1;
  std::mutex mutex_;
  PolicyVersion loaded_;
  std::map<std::string, double> metrics_;
};

}  // namespace candor
