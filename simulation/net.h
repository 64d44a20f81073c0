// The network between simulated processes, behind core/transport.h: messages are lost, doubled, late and out of order; pairs of processes
// are cut off from each other, one way or both. An endpoint is "sim://<process>.<life>"; what arrives for a process that is gone is lost.
#pragma once
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "core/transport.h"
#include "simulation/dice.h"
#include "simulation/scheduler.h"

namespace candor::sim {

struct NetFaults {
  double lose = 0, duplicate = 0, delay = 0;  // chances; a delayed message takes up to delay_max_ms
  int64_t delay_max_ms = 3000;
};

// What the checks see: every message as a process takes it in or gives it out.
struct NetWatch {
  std::function<void(const Process&, const IncomingMessage&)> received;                                    // by a server
  std::function<void(const Process&, const std::string& peer, const std::string& body)> replied;           // by a server
  std::function<void(const std::string& from, const std::string& to, const std::string& body)> delivered;  // to anybody
};

class SimServer;
class SimClient;

class Net {
 public:
  Net(Scheduler& scheduler, uint64_t seed) : scheduler_(scheduler), dice_(seed, 1) {}
  NetFaults faults;
  NetWatch watch;
  std::unique_ptr<Transport> TransportOf(Process& process);
  // Nothing from `from` reaches `to` until then; "*" is everybody.
  void Cut(const std::string& from, const std::string& to, int64_t until_ms) { cuts_.push_back({from, to, until_ms}); }
  void Heal();
  uint64_t messages() const { return messages_; }

 private:
  friend class SimServer;
  friend class SimClient;
  struct CutLine {
    std::string from, to;
    int64_t until_ms;
  };
  bool IsCut(const std::string& from, const std::string& to) const;
  void Post(const std::string& from, const std::string& to, std::function<void()> deliver);

  Scheduler& scheduler_;
  Dice dice_;
  std::vector<CutLine> cuts_;
  std::map<std::string, SimServer*> servers_;  // by endpoint
  std::map<std::string, SimClient*> clients_;  // by peer id
  uint64_t next_peer_ = 1, next_port_ = 1, messages_ = 0;
};

}  // namespace candor::sim
