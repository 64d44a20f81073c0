// Notices children of `candor run` that live but do not work: a process that was stopped, a coordinator that answers nobody, a worker or
// learner that the coordinator has not heard. What hangs is killed and started again like what died, so no hang outlasts its deadline.
// Asks the coordinator over its control socket and never blocks. Thread rule: one thread.
#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "cli/supervisor.h"
#include "core/clock.h"
#include "core/transport.h"

namespace candor::cli {

struct HangLimits {
  int64_t stopped_ms = 10'000;  // state T (SIGSTOP); a debugger's stop is another state
  int64_t silent_ms = 15'000;   // the coordinator to us, a worker to the coordinator
  int64_t learner_ms = 30'000;  // at least; and five of the longest steps so far
  int64_t start_ms = 600'000;   // from a start to the first word
};

struct Hang {
  std::string name;  // of the child
  std::string why;   // "has not answered for 15 s"
};

// What a status reply of the coordinator says of one member; kept apart from I/O so that it can be tested.
struct MemberSilence {
  int64_t silent_ms = 0;
  int64_t joined_ms_ago = 0;  // an older age than the child's: it speaks of an earlier life
};
std::map<std::string, MemberSilence> ReadSilences(const std::string& status_json);
// nullopt: fine. `age_ms` since the child was started; `limit_ms` for a child that has joined.
std::optional<std::string> JudgeSilence(const std::optional<MemberSilence>& member, int64_t age_ms, int64_t limit_ms, int64_t start_ms);

class HangWatch {
 public:
  HangWatch(std::string run_dir, std::string run_id, const HangLimits& limits, const Clock& clock)
      : run_dir_(std::move(run_dir)), run_id_(std::move(run_id)), limits_(limits), clock_(clock) {}
  // What hangs now; to be called a few times a second.
  std::vector<Hang> Look(const Supervisor& supervisor);

 private:
  void Ask();
  void Hear();
  void LookForStopped(const Supervisor& supervisor, std::vector<Hang>& hangs);
  void LookForSilent(const Supervisor& supervisor, std::vector<Hang>& hangs);

  const std::string run_dir_, run_id_;
  const HangLimits limits_;
  const Clock& clock_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<MessageClient> client_;
  uint64_t epoch_ = 0, sequence_ = 0;
  bool answered_ = false;  // this coordinator has answered once
  int64_t heard_ms_ = 0, next_ask_ms_ = 0, next_look_ms_ = 0, longest_step_ms_ = 0;
  std::map<std::string, MemberSilence> members_;  // as of heard_ms_
  std::map<std::string, int64_t> stopped_since_ms_;
};

}  // namespace candor::cli
