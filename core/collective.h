// Collectives over the ranks of the learner: one interface, four backends, one conformance suite (tests/dist).
//   local  threads of one process: the reference
//   mpi    host memory; Open MPI under mpirun or srun --mpi=pmix
//   tcp    host memory; sockets, where a cluster has neither (core/launch.h)
//   nccl   device memory; bootstrapped over one of the others
// Raw pointers and counts only, so that no torch header is needed.
//
// Calls are started in groups and run one after another in the order of Start, beside whatever the caller computes; every rank starts the
// same groups in the same order. Sends and receives that need each other stand in one group: a send may wait for its receive.
//
// Promise on sums. local, mpi and tcp reduce in rank order (inputs[0] + inputs[1] + ...), bf16 in fp32 with one rounding at the end: the
// same inputs give the same bits on every backend, machine layout and repetition at one world size. nccl reduces in its own order and
// rounds bf16 after every hop: the learner therefore sums gradients in fp32, and promises bit-equality on the host backends only.
//
// Every wait has a deadline. A broken collective returns ErrorCode::kCollective and the rank must exit with ExitCode::kRestart. mpi and tcp
// watch their peers all the time, also while nothing is waited for: a peer that is silent for `silence_ms` (stopped, or its machine lost)
// breaks the collective, a slow one does not. Thread rule: one thread per Collective; Abort and Health from any thread.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

enum class ElementType : uint8_t { kFloat32 = 0, kBFloat16 = 1, kInt64 = 2, kByte = 3 };
size_t SizeOf(ElementType type);
enum class ReduceOp : uint8_t { kSum = 0, kMax = 1, kMin = 2 };
enum class CallKind : uint8_t {
  kAllReduce = 0,      // out = reduction of every rank's `in`, `count` elements; in == out is allowed
  kReduceScatter = 1,  // in: size() * count elements; out: this rank's `count` elements of the reduction
  kAllGather = 2,      // in: count elements of this rank; out: size() * count, in rank order
  kBroadcast = 3,      // out: count elements, of rank `peer` everywhere
  kSend = 4,           // in: count elements, to rank `peer`
  kReceive = 5,        // out: count elements, from rank `peer`
  kBarrier = 6,
};

struct CollectiveCall {
  CallKind kind = CallKind::kBarrier;
  const void* in = nullptr;
  void* out = nullptr;
  size_t count = 0;
  ElementType type = ElementType::kByte;
  ReduceOp op = ReduceOp::kSum;
  int peer = 0;
};
// "all_gather of 1024 float32", "send of 8 byte to rank 1".
std::string Describe(const CollectiveCall& call);
// Bytes that one rank sends for it over its link.
size_t LinkBytes(const CollectiveCall& call, int ranks);

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const char* backend() const = 0;

  // Starts a group of calls; finish it with Wait, in any order of tickets. The buffers stay untouched until then. nccl: the group reads
  // what the device's default stream has computed up to here.
  using Ticket = uint64_t;
  virtual Result<Ticket> Start(std::span<const CollectiveCall> group) = 0;
  virtual Status Wait(Ticket ticket) = 0;
  // An error once the collective is broken, aborted or a peer fell silent.
  virtual Status Health() { return {}; }
  // Ends everything this rank waits for; later calls fail. Safe from another thread.
  virtual void Abort() = 0;

  // One call, waited for.
  Status Run(const CollectiveCall& call);
  Status RunGroup(std::span<const CollectiveCall> group);
  Status AllReduce(void* data, size_t count, ElementType type, ReduceOp op);
  Status ReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op);
  Status AllGather(const void* in, void* out, size_t count, ElementType type);
  Status Broadcast(void* data, size_t count, ElementType type, int root);
  Status Send(const void* data, size_t bytes, int to);
  Status Receive(void* data, size_t bytes, int from);
  Status Barrier();
  // One call, started.
  Result<Ticket> StartAllReduce(void* data, size_t count, ElementType type, ReduceOp op);
  Result<Ticket> StartAllGather(const void* in, void* out, size_t count, ElementType type);
  Result<Ticket> StartReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op);
};

struct CollectiveOptions {
  int deadline_ms = 60000;  // a wait longer than this is a broken collective
  int join_ms = 120000;     // until all ranks are there
  int silence_ms = 20000;   // mpi, tcp: a peer that gives no sign of life for that long is lost; 0: do not watch
};

// `size` ranks inside this process; element i belongs to rank i.
std::vector<std::unique_ptr<Collective>> MakeLocalCollectives(int size, CollectiveOptions options = {});
// MPI opened by name (libmpi.so.40); MPI_Init must find a launcher (mpirun, srun --mpi=pmix) or runs alone.
Result<std::unique_ptr<Collective>> MakeMpiCollective(CollectiveOptions options = {});
// NCCL opened by name; the unique id travels over `bootstrap`, which outlives the result: its Health ends waits too. Fails with
// kUnavailable where there is no GPU. The communicator is non-blocking; its calls run on a stream of their own, after what the default
// stream had computed at Start; Wait blocks the host until the device is done.
Result<std::unique_ptr<Collective>> MakeNcclCollective(Collective& bootstrap, int device, CollectiveOptions options = {});

}  // namespace candor
