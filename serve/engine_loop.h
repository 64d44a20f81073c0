// The engine behind a server: one thread owns it, takes what the connections' threads submit, and hands tokens back as they are sampled.
// Whatever is submitted while a step runs joins the batch of the next one. A ticket is one request's place here; its holder waits on it.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "core/thread.h"
#include "rollout/engine.h"

namespace candor {

// What one HTTP request asks of the engine: the same for each of its prompts.
struct Generation {
  std::vector<std::vector<int32_t>> prompts;  // token ids
  std::vector<SamplingOptions> sampling;      // of each prompt: budgets differ
  int32_t n = 1;                              // traces of each prompt
  std::optional<uint64_t> seed;               // the same request with the same seed draws the same numbers
  int32_t top_log_probs = 0;
  EpisodeFactory episode;
};

// A token of choice prompt * n + trace.
struct ChoiceToken {
  int32_t choice = 0;
  SampledToken token;
};

class Ticket {
 public:
  struct News {
    std::vector<ChoiceToken> tokens;  // since the last call, in order
    bool ended = false;               // no more tokens: take Groups()
  };
  // Waits until there is something new, or for `wait_ms`. The error: refused by the engine (kInvalidInput), or it ended (kUnavailable,
  // kInternal).
  Result<News> Wait(int wait_ms);
  // The engine took it, or refused it.
  Status WaitUntilTaken();
  // By prompt; once ended, only once.
  std::vector<TraceGroup> Groups();
  // Nobody waits any more: the engine drops it.
  void Abandon() { abandoned_ = true; }

 private:
  friend class EngineLoop;
  void Fail(const Error& error);
  std::mutex mutex_;
  std::condition_variable news_;
  std::deque<ChoiceToken> tokens_;
  std::map<size_t, TraceGroup> groups_;
  size_t expected_ = 0;
  bool taken_ = false;
  std::optional<Error> failed_;
  std::atomic<bool> abandoned_{false};
};

struct LoopState {
  EngineStats engine;
  size_t open_requests = 0;
  bool broken = false;
};

class EngineLoop {
 public:
  // The engine has its weights, and is this loop's alone until the loop is gone. At most `requests_max` tickets are open at a time.
  EngineLoop(Engine& engine, size_t requests_max, uint64_t seed);
  ~EngineLoop();  // Stop
  // kUnavailable: too many open requests, or the loop has ended.
  Result<std::shared_ptr<Ticket>> Submit(Generation generation);
  // Open tickets fail with kUnavailable; the thread ends. Any thread, but not the engine's.
  void Stop();
  LoopState state() const;

 private:
  struct Open {
    std::shared_ptr<Ticket> ticket;
    std::vector<GroupId> groups;  // by prompt
  };
  void Run();
  void TakeIn(std::shared_ptr<Ticket> ticket, Generation generation);
  Status TryTakeIn(const std::shared_ptr<Ticket>& ticket, const Generation& generation, Open& open);
  void DropAbandoned();
  void HandOut();
  void FailAll(const Error& error);

  Engine& engine_;
  const size_t requests_max_;
  const uint64_t seed_;
  uint64_t next_group_ = 1;                                              // the engine's thread only
  std::deque<Open> open_;                                                // likewise
  std::map<GroupId, std::pair<std::shared_ptr<Ticket>, size_t>> owner_;  // likewise: whose group, which of its prompts
  mutable std::mutex mutex_;
  std::condition_variable has_work_;
  std::deque<std::pair<std::shared_ptr<Ticket>, Generation>> waiting_;
  LoopState state_;
  bool stopping_ = false;
  NamedThread thread_;  // last: it uses what is above
};

}  // namespace candor
