// One rank of the conformance suite over NCCL; started by mpirun on a machine with as many GPUs as ranks. The suite's buffers lie on the
// host, NCCL's on the device: each call copies in, runs and copies out. Exit code 0 when this rank saw everything it should; 77 without a
// GPU.
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

#include "core/check.h"
#include "core/collective.h"
#include "tests/dist/collective_conformance.h"

namespace {

using candor::Collective;
using candor::ElementType;
using candor::ReduceOp;
using candor::Status;

struct Cuda {
  cudaError_t (*allocate)(void**, size_t);
  decltype(&cudaMemcpy) copy;
  decltype(&cudaFree) free;
};
const Cuda& TheCuda() {
  static const Cuda cuda = [] {
    void* library = dlopen("libcudart.so.13", RTLD_NOW);
    CANDOR_CHECK(library != nullptr, "NCCL opened it before");
    return Cuda{reinterpret_cast<cudaError_t (*)(void**, size_t)>(dlsym(library, "cudaMalloc")),
                reinterpret_cast<decltype(&cudaMemcpy)>(dlsym(library, "cudaMemcpy")),
                reinterpret_cast<decltype(&cudaFree)>(dlsym(library, "cudaFree"))};
  }();
  return cuda;
}

// A device copy of a host buffer.
class OnDevice {
 public:
  OnDevice(const void* host, size_t bytes) : bytes_(bytes) {
    CANDOR_CHECK(TheCuda().allocate(&memory_, bytes) == cudaSuccess, "device memory");
    CANDOR_CHECK(TheCuda().copy(memory_, host, bytes, cudaMemcpyDefault) == cudaSuccess, "copy to the device");
  }
  ~OnDevice() { TheCuda().free(memory_); }
  OnDevice(const OnDevice&) = delete;
  OnDevice& operator=(const OnDevice&) = delete;
  void* get() const { return memory_; }
  Status BackTo(void* host, const Status& status) const {
    CANDOR_CHECK(TheCuda().copy(host, memory_, bytes_, cudaMemcpyDefault) == cudaSuccess, "copy from the device");
    return status;
  }

 private:
  void* memory_ = nullptr;
  size_t bytes_;
};

class Staged final : public Collective {
 public:
  explicit Staged(Collective& nccl) : nccl_(nccl) {}
  int rank() const override { return nccl_.rank(); }
  int size() const override { return nccl_.size(); }
  const char* backend() const override { return nccl_.backend(); }
  Status AllReduce(void* data, size_t count, ElementType type, ReduceOp op) override {
    const OnDevice device(data, count * SizeOf(type));
    return device.BackTo(data, nccl_.AllReduce(device.get(), count, type, op));
  }
  Status ReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op) override {
    const OnDevice from(in, Ranks() * count * SizeOf(type)), to(out, count * SizeOf(type));
    return to.BackTo(out, nccl_.ReduceScatter(from.get(), to.get(), count, type, op));
  }
  Status AllGather(const void* in, void* out, size_t count, ElementType type) override {
    const OnDevice from(in, count * SizeOf(type)), to(out, Ranks() * count * SizeOf(type));
    return to.BackTo(out, nccl_.AllGather(from.get(), to.get(), count, type));
  }
  Status Broadcast(void* data, size_t count, ElementType type, int root) override {
    const OnDevice device(data, count * SizeOf(type));
    return device.BackTo(data, nccl_.Broadcast(device.get(), count, type, root));
  }
  Status Send(const void* data, size_t bytes, int to) override { return nccl_.Send(OnDevice(data, bytes).get(), bytes, to); }
  Status Receive(void* data, size_t bytes, int from) override {
    const OnDevice device(data, bytes);
    return device.BackTo(data, nccl_.Receive(device.get(), bytes, from));
  }
  Status Barrier() override { return nccl_.Barrier(); }
  void Abort() override { nccl_.Abort(); }

 private:
  size_t Ranks() const { return static_cast<size_t>(size()); }
  Collective& nccl_;
};

}  // namespace

int main() {
  auto mpi = candor::MakeMpiCollective();
  if (!mpi) {
    std::fprintf(stderr, "%s\n", mpi.error().Message().c_str());
    return 1;
  }
  const char* local = std::getenv("OMPI_COMM_WORLD_LOCAL_RANK");
  auto nccl = candor::MakeNcclCollective(**mpi, local ? std::atoi(local) : (*mpi)->rank());
  if (!nccl) {
    std::fprintf(stderr, "%s\n", nccl.error().Message().c_str());
    return nccl.error().code == candor::ErrorCode::kUnavailable ? 77 : 1;
  }
  Staged staged(**nccl);
  const std::string difference = candor::CheckCollective(staged);
  if (!difference.empty()) std::fprintf(stderr, "rank %d: %s\n", staged.rank(), difference.c_str());
  return difference.empty() ? 0 : 1;
}
