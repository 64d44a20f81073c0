// The learner's lines to the other processes: rank 0 talks to the coordinator, every rank fetches its groups from the reward workers. A
// coordinator that went away is looked for again in RUN_DIR/endpoint.<epoch>. One thread.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "core/clock.h"
#include "core/disk.h"
#include "core/transport.h"
#include "proto/messages.h"

namespace candor {

struct LearnerLinkSetup {
  Transport* transport = nullptr;
  std::string run_dir, run_id, worker;
  Incarnation incarnation;
  Clock* clock = &SystemClock::Get();
  Disk* disk = &SystemDisk();
};

class LearnerLink {
 public:
  explicit LearnerLink(LearnerLinkSetup setup) : setup_(std::move(setup)) {}
  // Connects (and says hello) when needed, asks, and starts again with the newest coordinator when there is no answer. kUnavailable after
  // deadline_ms, naming `what`.
  template <typename Reply, typename Request>
  Result<Reply> Ask(const Request& request, const std::string& what, int64_t deadline_ms) {
    CANDOR_ASSIGN(MessageBody body, Exchange(MessageBody(request), what, deadline_ms));
    if (Reply* reply = std::get_if<Reply>(&body)) return std::move(*reply);
    return Fail(ErrorCode::kInvalidInput, "the coordinator answered something else to " + what);
  }
  const Welcome& welcome() const { return welcome_; }

 private:
  Status Connect(int64_t deadline_ms);
  Result<MessageBody> Exchange(const MessageBody& request, const std::string& what, int64_t deadline_ms);

  LearnerLinkSetup setup_;
  std::unique_ptr<MessageClient> client_;
  std::unique_ptr<Caller> caller_;
  uint64_t epoch_ = 0;
  Welcome welcome_;
};

class GroupFetcher {
 public:
  explicit GroupFetcher(LearnerLinkSetup setup) : setup_(std::move(setup)) {}
  // The group, its bytes checked against the hash that the plan names.
  Result<ScoredGroup> Fetch(const PlannedGroup& planned, int deadline_ms);

 private:
  struct Peer {
    std::unique_ptr<MessageClient> client;
    std::unique_ptr<Caller> caller;
    int64_t used_ms = 0;
  };
  void ForgetIdle();
  LearnerLinkSetup setup_;
  std::map<std::string, Peer> peers_;
};

}  // namespace candor
