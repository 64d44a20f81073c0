// The NCCL backend (device memory). libnccl and libcudart are opened by name, so that a machine without a GPU runs everything else. The
// unique id travels over the bootstrap collective (MPI), the communicator is non-blocking, and every wait polls the stream and the
// communicator's asynchronous error with a deadline; a failure aborts it.
#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/format.h>
#include <nccl.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <map>

#include "core/collective.h"

namespace candor {

namespace {

struct NcclLibrary {
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) comm_init = nullptr;
  decltype(&ncclCommAbort) comm_abort = nullptr;
  decltype(&ncclCommFinalize) comm_finalize = nullptr;
  decltype(&ncclCommDestroy) comm_destroy = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclReduceScatter) reduce_scatter = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
  decltype(&ncclBroadcast) broadcast = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) recv = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;
  decltype(&cudaGetDeviceCount) device_count = nullptr;
  decltype(&cudaSetDevice) set_device = nullptr;
  cudaError_t (*allocate)(void**, size_t) = nullptr;  // cudaMalloc, which has overloads
  decltype(&cudaFree) free = nullptr;
  decltype(&cudaStreamCreateWithFlags) stream_create = nullptr;
  decltype(&cudaStreamDestroy) stream_destroy = nullptr;
  decltype(&cudaStreamQuery) stream_query = nullptr;
  decltype(&cudaGetErrorString) cuda_error_string = nullptr;
};

template <typename F>
bool Look(void* handle, const char* name, F& target) {
  target = reinterpret_cast<F>(dlsym(handle, name));
  return target != nullptr;
}

Result<NcclLibrary> OpenNccl() {
  void* cuda = dlopen("libcudart.so.13", RTLD_NOW | RTLD_GLOBAL);
  if (!cuda) return Fail(ErrorCode::kNotFound, "the CUDA run time cannot be opened", dlerror(), "run tools/setup.sh --gpu");
  void* nccl = dlopen("libnccl.so.2", RTLD_NOW | RTLD_GLOBAL);
  if (!nccl)
    return Fail(ErrorCode::kNotFound, "NCCL cannot be opened", dlerror(),
                "run tools/setup.sh, or put your site's NCCL 2 on LD_LIBRARY_PATH");
  NcclLibrary lib;
  bool ok = Look(nccl, "ncclGetUniqueId", lib.get_unique_id) && Look(nccl, "ncclCommInitRankConfig", lib.comm_init) &&
            Look(nccl, "ncclCommAbort", lib.comm_abort) && Look(nccl, "ncclCommFinalize", lib.comm_finalize) &&
            Look(nccl, "ncclCommDestroy", lib.comm_destroy) && Look(nccl, "ncclCommGetAsyncError", lib.async_error) &&
            Look(nccl, "ncclAllReduce", lib.all_reduce) && Look(nccl, "ncclReduceScatter", lib.reduce_scatter) &&
            Look(nccl, "ncclAllGather", lib.all_gather) && Look(nccl, "ncclBroadcast", lib.broadcast) && Look(nccl, "ncclSend", lib.send) &&
            Look(nccl, "ncclRecv", lib.recv) && Look(nccl, "ncclGetErrorString", lib.error_string) &&
            Look(cuda, "cudaGetDeviceCount", lib.device_count) && Look(cuda, "cudaSetDevice", lib.set_device) &&
            Look(cuda, "cudaMalloc", lib.allocate) && Look(cuda, "cudaFree", lib.free) &&
            Look(cuda, "cudaStreamCreateWithFlags", lib.stream_create) && Look(cuda, "cudaStreamDestroy", lib.stream_destroy) &&
            Look(cuda, "cudaStreamQuery", lib.stream_query) && Look(cuda, "cudaGetErrorString", lib.cuda_error_string);
  if (!ok) return Fail(ErrorCode::kVersionSkew, "libnccl or libcudart lacks a function", "", "Candor needs NCCL 2.19 or newer and CUDA 13");
  return lib;
}

ncclDataType_t NcclType(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return ncclFloat32;
    case ElementType::kBFloat16:
      return ncclBfloat16;
    case ElementType::kInt64:
      return ncclInt64;
    case ElementType::kByte:
      return ncclUint8;
  }
  return ncclUint8;
}
ncclRedOp_t NcclOp(ReduceOp op) { return op == ReduceOp::kSum ? ncclSum : op == ReduceOp::kMax ? ncclMax : ncclMin; }

class NcclCollective final : public Collective {
 public:
  NcclCollective(NcclLibrary lib, int rank, int size, CollectiveOptions options) : lib_(lib), rank_(rank), size_(size), options_(options) {}
  ~NcclCollective() override {
    if (comm_ && !broken_) {
      lib_.comm_finalize(comm_);
      lib_.comm_destroy(comm_);
    }
    if (barrier_word_) lib_.free(barrier_word_);
    if (stream_) lib_.stream_destroy(stream_);
  }

  Status Connect(const ncclUniqueId& id, int device) {
    if (cudaError_t code = lib_.set_device(device); code != cudaSuccess) return CudaBroken(code, fmt::format("cudaSetDevice({})", device));
    if (cudaError_t code = lib_.stream_create(&stream_, cudaStreamNonBlocking); code != cudaSuccess)
      return CudaBroken(code, "cudaStreamCreate");
    if (cudaError_t code = lib_.allocate(&barrier_word_, sizeof(int64_t)); code != cudaSuccess) return CudaBroken(code, "cudaMalloc");
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    ncclResult_t code = lib_.comm_init(&comm_, size_, id, rank_, &config);
    if (code != ncclSuccess && code != ncclInProgress) return Broken(std::string("ncclCommInitRank: ") + lib_.error_string(code));
    return AwaitReady("ncclCommInitRank");
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const char* backend() const override { return "nccl"; }

  Status AllReduce(void* data, size_t count, ElementType type, ReduceOp op) override {
    return Run(lib_.all_reduce(data, data, count, NcclType(type), NcclOp(op), comm_, stream_), "all_reduce");
  }
  Status ReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op) override {
    return Run(lib_.reduce_scatter(in, out, count, NcclType(type), NcclOp(op), comm_, stream_), "reduce_scatter");
  }
  Status AllGather(const void* in, void* out, size_t count, ElementType type) override {
    return Run(lib_.all_gather(in, out, count, NcclType(type), comm_, stream_), "all_gather");
  }
  Status Broadcast(void* data, size_t count, ElementType type, int root) override {
    return Run(lib_.broadcast(data, data, count, NcclType(type), root, comm_, stream_), "broadcast");
  }
  Status Send(const void* data, size_t bytes, int to) override {
    return Run(lib_.send(data, bytes, ncclUint8, to, comm_, stream_), "send");
  }
  Status Receive(void* data, size_t bytes, int from) override {
    return Run(lib_.recv(data, bytes, ncclUint8, from, comm_, stream_), "receive");
  }
  Status Barrier() override { return Run(lib_.all_reduce(barrier_word_, barrier_word_, 1, ncclInt64, ncclMax, comm_, stream_), "barrier"); }
  void Abort() override {
    if (comm_ && !broken_.exchange(true)) lib_.comm_abort(comm_);
  }

 private:
  tl::unexpected<Error> Broken(const std::string& why) {
    Abort();
    broken_ = true;
    return Fail(ErrorCode::kCollective, "the collective broke: " + why, fmt::format("nccl rank {} of {}", rank_, size_),
                "the learner restarts from its newest checkpoint");
  }
  tl::unexpected<Error> CudaBroken(cudaError_t code, const std::string& what) { return Broken(what + ": " + lib_.cuda_error_string(code)); }

  Status Run(ncclResult_t code, const char* what) {
    if (broken_) return Broken("it was broken before");
    if (code != ncclSuccess && code != ncclInProgress) return Broken(fmt::format("{}: {}", what, lib_.error_string(code)));
    CANDOR_TRY(AwaitReady(what));
    return AwaitStream(what);
  }
  // The communicator's own state: a non-blocking call may still be setting up.
  Status AwaitReady(const char* what) {
    return Poll(what, [&]() -> Result<bool> {
      ncclResult_t state = ncclSuccess;
      if (ncclResult_t code = lib_.async_error(comm_, &state); code != ncclSuccess)
        return Broken(fmt::format("{}: {}", what, lib_.error_string(code)));
      if (state != ncclSuccess && state != ncclInProgress) return Broken(fmt::format("{}: {}", what, lib_.error_string(state)));
      return state == ncclSuccess;
    });
  }
  Status AwaitStream(const char* what) {
    return Poll(what, [&]() -> Result<bool> {
      ncclResult_t state = ncclSuccess;
      lib_.async_error(comm_, &state);
      if (state != ncclSuccess && state != ncclInProgress) return Broken(fmt::format("{}: {}", what, lib_.error_string(state)));
      cudaError_t code = lib_.stream_query(stream_);
      if (code != cudaSuccess && code != cudaErrorNotReady) return CudaBroken(code, what);
      return code == cudaSuccess;
    });
  }
  template <typename Done>
  Status Poll(const char* what, Done done) {
    const auto start = std::chrono::steady_clock::now();
    for (;;) {
      CANDOR_ASSIGN(bool ready, done());
      if (ready) return {};
      const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count();
      if (waited > options_.deadline_ms) return Broken(fmt::format("{} waited {} ms for its peers", what, waited));
      timespec pause{0, 20'000};
      nanosleep(&pause, nullptr);
    }
  }

  const NcclLibrary lib_;
  const int rank_, size_;
  const CollectiveOptions options_;
  ncclComm_t comm_ = nullptr;
  cudaStream_t stream_ = nullptr;
  void* barrier_word_ = nullptr;
  std::atomic<bool> broken_ = false;
};

}  // namespace

Result<std::unique_ptr<Collective>> MakeNcclCollective(Collective& bootstrap, int device, CollectiveOptions options) {
  CANDOR_ASSIGN(NcclLibrary lib, OpenNccl());
  int devices = 0;
  cudaError_t code = lib.device_count(&devices);
  if (code != cudaSuccess || devices == 0)
    return Fail(ErrorCode::kUnavailable, "there is no GPU here", lib.cuda_error_string(code),
                "use device = \"cpu\", where MPI carries the tensors");
  ncclUniqueId id{};
  if (bootstrap.rank() == 0)
    if (ncclResult_t made = lib.get_unique_id(&id); made != ncclSuccess)
      return Fail(ErrorCode::kCollective, std::string("ncclGetUniqueId: ") + lib.error_string(made));
  CANDOR_TRY(bootstrap.Broadcast(&id, sizeof id, ElementType::kByte, 0));
  auto collective = std::make_unique<NcclCollective>(lib, bootstrap.rank(), bootstrap.size(), options);
  CANDOR_TRY(collective->Connect(id, device));
  return std::unique_ptr<Collective>(std::move(collective));
}

}  // namespace candor
