// What the MPI and TCP backends have in common: a thread that carries calls out as messages between pairs of ranks, sums in rank order, and
// watches the peers. A backend only moves bytes (ByteMesh). So a call makes progress while its caller computes, and all of MPI is used by
// one thread.
#pragma once
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "core/collective.h"

namespace candor {

// Goes before every message: a receiver checks that the sender makes the same call.
struct CallHeader {
  uint32_t magic = 0x43414E44;
  uint8_t kind = 0, type = 0, op = 0, unused = 0;
  int32_t peer = 0;
  uint32_t phase = 0;
  uint64_t count = 0;
  bool operator==(const CallHeader&) const = default;
};
static_assert(sizeof(CallHeader) == 24);
// "all_reduce of 4 float32 sum"
std::string Describe(const CallHeader& header);
// kCollective: "ranks disagree: ..."
tl::unexpected<Error> Disagree(int peer, const CallHeader& theirs, const CallHeader& ours);

struct Outgoing {
  int to = 0;
  CallHeader header;
  const char* data = nullptr;
  size_t bytes = 0;
};
struct Incoming {
  int from = 0;
  CallHeader header;  // expected
  char* data = nullptr;
  size_t bytes = 0;
};

// A group of calls as messages, for one rank. Phases follow one another; `finish` of a phase runs when its messages are through.
struct ExchangePhase {
  std::vector<Outgoing> out;
  std::vector<Incoming> in;
  std::vector<std::function<void()>> finish;
};
struct ExchangePlan {
  std::vector<ExchangePhase> phases;
  std::vector<std::unique_ptr<char[]>> scratch;  // what the phases point into
};
// Small sums: every rank sends all to all and sums for itself; large ones on more than two ranks: reduce-scatter, then all-gather. Both add
// in rank order.
ExchangePlan PlanExchange(std::span<const CollectiveCall> group, int rank, int ranks);

// Says when to give a sign of life and when a peer gave none for too long. A process that was itself stopped does not blame its peers.
class BeatTimer {
 public:
  explicit BeatTimer(int silence_ms) : silence_ms_(silence_ms) {}
  bool Due(int64_t now_ms);  // at most once a second
  void Heard(int64_t now_ms) { heard_ms_ = now_ms; }
  // How long the peer has been silent when that is too long, else 0. Called often.
  int64_t SilentMs(int64_t now_ms);

 private:
  const int silence_ms_;
  int64_t sent_ms_ = 0, heard_ms_ = 0, asked_ms_ = 0;
};

// Moves bytes between ranks. All calls come from one thread.
class ByteMesh {
 public:
  virtual ~ByteMesh() = default;
  virtual const char* name() const = 0;
  virtual int rank() const = 0;  // after Open
  virtual int size() const = 0;
  virtual Status Open() = 0;
  // The lists stay where they are until Poll returned true. Messages of one pair keep their order.
  virtual Status Begin(std::span<const Outgoing> out, std::span<const Incoming> in) = 0;
  // True when all of them are through. Waits a little itself, longer with every attempt.
  virtual Result<bool> Poll(int attempt) = 0;
  // Gives a sign of life, and fails when a peer is lost. Called at least every 100 ms.
  virtual Status Beat(int64_t now_ms) = 0;
  // `orderly`: all ranks close together.
  virtual void Close(bool orderly) = 0;
};

Result<std::unique_ptr<Collective>> MakeMeshCollective(std::unique_ptr<ByteMesh> mesh, CollectiveOptions options);

}  // namespace candor
