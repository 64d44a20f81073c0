// Dice, envelopes and the actors of the simulated world: what each process of a run remembers.
#pragma once
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <utility>

#include "core/rng.h"
#include "core/transport.h"
#include "proto/messages.h"

namespace candor::sim {

class Dice {
 public:
  explicit Dice(uint64_t seed) : seed_(seed) {}
  uint64_t Bits() { return RandomBits(seed_, RngStream::kSynthetic, ++count_); }
  bool Chance(double p) { return ToUnit(Bits()) < p; }
  int64_t Between(int64_t low, int64_t high) { return low + static_cast<int64_t>(Bits() % static_cast<uint64_t>(high - low + 1)); }

 private:
  uint64_t seed_, count_ = 0;
};

struct Envelope {
  int64_t at_ms;
  uint64_t order;
  std::function<void()> deliver;
  bool operator<(const Envelope& other) const { return at_ms != other.at_ms ? at_ms > other.at_ms : order > other.order; }
};

// A client asks one question at a time and repeats it until it is answered, as Caller does.
struct Client {
  std::string name;
  Role role;
  uint64_t incarnation = 0, sequence = 0;
  std::optional<MessageBody> question;
  int64_t asked_ms = -1000000;
  std::function<void(const MessageBody&)> on_reply;
};

struct RewardActor : Client {
  std::map<GroupId, GroupScored> disk;
  std::set<GroupId> unacknowledged;
  bool greeted = false;
  int64_t beat_ms = 0;
};
struct RolloutActor : Client {
  std::map<GroupId, std::pair<Lease, int64_t>> work;  // lease, done at
  bool greeted = false;
  int64_t beat_ms = 0, ask_ms = 0;
  PolicyVersion loaded;
};
struct TrainerActor : Client {
  uint64_t step = 1, checkpoint = 0, announced = 0;
  enum { kAnnounceStart, kPlan, kVote, kAnnounce, kDone, kCheckpoint, kGone } phase = kAnnounceStart;
  StepPlan plan;
  int64_t next_ms = 0;
};

}  // namespace candor::sim
