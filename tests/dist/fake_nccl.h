// A stand-in for libnccl.so.2 on machines without a GPU: real processes, host memory, shared memory between them. It keeps NCCL's rules and
// says which one was broken, where real hardware would hang:
//   * a non-blocking communicator answers ncclInProgress, at first also after a group; a call before it is ready is refused
//   * all ranks must make the same calls, with the same counts, types, operations and grouping, in the same order
//   * a send waits for its receive: two ranks that send to each other outside a group hang
//   * memory must come from cudaMalloc
//   * sums run against the order of ranks and bf16 is rounded after every hop: nobody may rely on more
// Faults, by environment, for the N-th group (from 1) of one rank:
//   CANDOR_FAKE_NCCL="hang:RANK:N" | "error:RANK:N" | "die:RANK:N" | "init-hang:RANK" | "init-error:RANK"
#pragma once
#include <cuda_runtime_api.h>
#include <nccl.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace fake_nccl {

constexpr int kMaxRanks = 16;
constexpr size_t kTextBytes = 2048;

enum class Kind : int { kAllReduce, kReduceScatter, kAllGather, kBroadcast, kSend, kReceive };

struct Call {
  Kind kind = Kind::kAllReduce;
  const void* in = nullptr;
  void* out = nullptr;
  size_t count = 0;
  ncclDataType_t type = ncclFloat32;
  ncclRedOp_t op = ncclSum;
  int peer = 0;  // of a send or receive; the root of a broadcast
};
std::string Describe(const Call& call);
size_t InBytes(const Call& call, int ranks);
size_t OutBytes(const Call& call, int ranks);
// `inputs`: every rank's input of this call.
void Compute(const Call& call, const std::vector<const char*>& inputs, int rank);

// In shared memory; zero is its beginning.
struct Slot {
  std::atomic<uint64_t> published, done;  // rounds
  char text[kTextBytes];                  // of the published round
};
struct Mailbox {
  std::atomic<uint64_t> sent, taken;
  uint64_t count;
  int type;
};
struct Shared {
  std::atomic<int> joined;
  Slot slots[kMaxRanks];
  Mailbox boxes[kMaxRanks][kMaxRanks];  // [from][to]
};

}  // namespace fake_nccl

struct ncclComm {
  std::string id;
  int rank = 0, ranks = 1;
  fake_nccl::Shared* shared = nullptr;
  std::atomic<ncclResult_t> state{ncclInProgress};
  std::atomic<bool> aborted{false};
  std::atomic<int> running{0};  // threads and stream items that use it
  uint64_t rounds = 0, groups = 0;
  uint64_t sent_to[fake_nccl::kMaxRanks] = {}, taken_from[fake_nccl::kMaxRanks] = {};
  std::mutex mutex;
  std::string last_error;

  void Break(ncclResult_t code, const std::string& why);
  // Waits for `done`; false when aborted or broken.
  template <typename Done>
  bool Await(Done done) {
    for (int attempt = 0; !done(); ++attempt) {
      if (aborted || (state != ncclSuccess && state != ncclInProgress)) return false;
      std::this_thread::sleep_for(std::chrono::microseconds(std::min(1000, 50 + 5 * attempt)));
    }
    return true;
  }
};

namespace fake_nccl {
// Runs a group in stream order.
void RunGroup(ncclComm& comm, const std::vector<Call>& calls);
// Whether the environment asks for `what` at this rank (and group; 0: any).
bool Asked(const char* what, int rank, uint64_t group = 0);
// A named piece of shared memory; created when it is not there.
char* MapShared(const std::string& name, size_t bytes);
void UnmapShared(char* memory, size_t bytes);
}  // namespace fake_nccl
