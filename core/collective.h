// Collectives over the ranks of the learner: one interface, three backends (local threads: the reference; MPI: host memory; NCCL: device
// memory), one conformance suite. Raw pointers and counts only, so that no torch header is needed. Every wait has a deadline; a broken
// collective returns ErrorCode::kCollective and the rank must exit with ExitCode::kRestart. bf16 travels as bytes and is reduced in fp32 in
// rank order. Thread rule: one thread per Collective; every rank makes the same calls in the same order.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

enum class ElementType : uint8_t { kFloat32 = 0, kBFloat16 = 1, kInt64 = 2, kByte = 3 };
size_t SizeOf(ElementType type);
enum class ReduceOp : uint8_t { kSum = 0, kMax = 1, kMin = 2 };

class Collective {
 public:
  virtual ~Collective() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual const char* backend() const = 0;

  // In place over `count` elements.
  virtual Status AllReduce(void* data, size_t count, ElementType type, ReduceOp op) = 0;
  // in: size() * count elements; out: this rank's `count` elements of the sum.
  virtual Status ReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op) = 0;
  // in: count elements of this rank; out: size() * count, in rank order.
  virtual Status AllGather(const void* in, void* out, size_t count, ElementType type) = 0;
  virtual Status Broadcast(void* data, size_t count, ElementType type, int root) = 0;
  virtual Status Send(const void* data, size_t bytes, int to) = 0;
  virtual Status Receive(void* data, size_t bytes, int from) = 0;
  virtual Status Barrier() = 0;

  // Non-blocking forms: start now, finish with Wait (in any order; the buffers stay untouched until then). The default does the work inside
  // Start.
  using Ticket = uint64_t;
  virtual Result<Ticket> StartAllGather(const void* in, void* out, size_t count, ElementType type);
  virtual Result<Ticket> StartReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op);
  virtual Status Wait(Ticket ticket);

  // Ends everything this rank waits for; later calls fail. Safe from another thread.
  virtual void Abort() = 0;
};

struct CollectiveOptions {
  int deadline_ms = 60000;  // a wait longer than this is a broken collective
};

// `size` ranks inside this process; element i belongs to rank i.
std::vector<std::unique_ptr<Collective>> MakeLocalCollectives(int size, CollectiveOptions options = {});
// MPI opened by name (libmpi.so.40); MPI_Init must find a launcher (mpirun, srun --mpi=pmix) or runs alone.
Result<std::unique_ptr<Collective>> MakeMpiCollective(CollectiveOptions options = {});
// NCCL opened by name; the unique id travels over `bootstrap`. Fails with kUnavailable where there is no GPU. Its calls read and write
// device memory on a stream of their own and return when the work is done: whoever computed that memory on another stream waits for it
// first.
Result<std::unique_ptr<Collective>> MakeNcclCollective(Collective& bootstrap, int device, CollectiveOptions options = {});

}  // namespace candor
