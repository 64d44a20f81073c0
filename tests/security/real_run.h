// A run's coordinator and reward worker as the real programs, for tests that attack them.
#pragma once
#include <sys/types.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "core/transport.h"
#include "proto/messages.h"

namespace candor::security {

class RealRun {
 public:
  RealRun();
  ~RealRun();  // ends both
  // Variables "NAME=value" for the coordinator, set before Start.
  void SetEnvironment(std::vector<std::string> variables) { environment_ = std::move(variables); }
  void LaunchCoordinator();  // does not wait
  void StartCoordinator();   // waits until it can be reached
  void StartReward();
  const std::string& dir() const { return dir_; }
  const RunKeys& keys() const { return keys_; }
  const std::string& coordinator() const { return coordinator_; }  // endpoints
  const std::string& reward() const { return reward_; }
  const std::string& http() const { return http_; }
  bool CoordinatorAlive();
  bool RewardAlive();
  // Waits until the coordinator has ended; its exit code, -1 when it did not within the time.
  int CoordinatorExit(int within_ms);
  // What the coordinator says of itself, without what changes by itself (times, silence).
  nlohmann::json Status();
  pid_t coordinator_pid() const { return coordinator_pid_; }

 private:
  pid_t Spawn(const std::string& role, const std::vector<std::string>& environment);
  std::string dir_, coordinator_, reward_, http_;
  RunKeys keys_;
  std::vector<std::string> environment_;
  pid_t coordinator_pid_ = -1, reward_pid_ = -1;
  std::unique_ptr<Transport> transport_;
};

// A good worker that sends heartbeats, 20 ms after each answer; its latencies while something goes on.
class GoodWorker {
 public:
  explicit GoodWorker(RealRun& run);
  ~GoodWorker();
  struct Times {
    double median_ms = 0, p99_ms = 0, per_second = 0;
    int failed = 0;
  };
  Times Measure(double seconds);

 private:
  RealRun& run_;
  std::unique_ptr<Transport> transport_;
  std::unique_ptr<MessageClient> client_;
  std::unique_ptr<Caller> caller_;
};

}  // namespace candor::security
