// The NCCL backend (device memory). libnccl is opened by name, so that a machine without a GPU runs everything else. The unique id travels
// over the bootstrap collective (MPI or TCP). The communicator is non-blocking: every call may answer "in progress", and nothing else is
// asked of it until its state says otherwise. Groups run on a stream of their own; every wait polls the group's event, the communicator's
// asynchronous error and the bootstrap's watch over the peers, with a deadline; a failure aborts the communicator.
#include <dlfcn.h>
#include <fmt/format.h>
#include <nccl.h>
#include <time.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>

#include "core/clock.h"
#include "core/collective.h"
#include "core/cuda_runtime.h"

namespace candor {

namespace {

struct NcclLibrary {
  decltype(&ncclGetUniqueId) get_unique_id = nullptr;
  decltype(&ncclCommInitRankConfig) comm_init = nullptr;
  decltype(&ncclCommAbort) comm_abort = nullptr;
  decltype(&ncclCommFinalize) comm_finalize = nullptr;
  decltype(&ncclCommDestroy) comm_destroy = nullptr;
  decltype(&ncclCommGetAsyncError) async_error = nullptr;
  decltype(&ncclGroupStart) group_start = nullptr;
  decltype(&ncclGroupEnd) group_end = nullptr;
  decltype(&ncclAllReduce) all_reduce = nullptr;
  decltype(&ncclReduceScatter) reduce_scatter = nullptr;
  decltype(&ncclAllGather) all_gather = nullptr;
  decltype(&ncclBroadcast) broadcast = nullptr;
  decltype(&ncclSend) send = nullptr;
  decltype(&ncclRecv) recv = nullptr;
  decltype(&ncclGetErrorString) error_string = nullptr;
  decltype(&ncclGetLastError) last_error = nullptr;
};

template <typename F>
bool Look(void* handle, const char* name, F& target) {
  target = reinterpret_cast<F>(dlsym(handle, name));
  return target != nullptr;
}

Result<NcclLibrary> OpenNccl() {
  void* nccl = dlopen("libnccl.so.2", RTLD_NOW | RTLD_GLOBAL);
  if (!nccl)
    return Fail(ErrorCode::kNotFound, "NCCL cannot be opened", dlerror(),
                "run tools/setup.sh, or put your site's NCCL 2 on LD_LIBRARY_PATH");
  NcclLibrary lib;
  const bool ok = Look(nccl, "ncclGetUniqueId", lib.get_unique_id) && Look(nccl, "ncclCommInitRankConfig", lib.comm_init) &&
                  Look(nccl, "ncclCommAbort", lib.comm_abort) && Look(nccl, "ncclCommFinalize", lib.comm_finalize) &&
                  Look(nccl, "ncclCommDestroy", lib.comm_destroy) && Look(nccl, "ncclCommGetAsyncError", lib.async_error) &&
                  Look(nccl, "ncclGroupStart", lib.group_start) && Look(nccl, "ncclGroupEnd", lib.group_end) &&
                  Look(nccl, "ncclAllReduce", lib.all_reduce) && Look(nccl, "ncclReduceScatter", lib.reduce_scatter) &&
                  Look(nccl, "ncclAllGather", lib.all_gather) && Look(nccl, "ncclBroadcast", lib.broadcast) &&
                  Look(nccl, "ncclSend", lib.send) && Look(nccl, "ncclRecv", lib.recv) &&
                  Look(nccl, "ncclGetErrorString", lib.error_string) && Look(nccl, "ncclGetLastError", lib.last_error);
  if (!ok) return Fail(ErrorCode::kVersionSkew, "libnccl lacks a function", "", "Candor needs NCCL 2.19 or newer");
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
  NcclCollective(NcclLibrary lib, const CudaRuntime& cuda, Collective& bootstrap, CollectiveOptions options)
      : lib_(lib), cuda_(cuda), bootstrap_(bootstrap), rank_(bootstrap.rank()), size_(bootstrap.size()), options_(options) {}
  ~NcclCollective() override {
    if (!broken_ && comm_) Finalize();
    for (auto& [ticket, group] : groups_) spare_events_.push_back(group.done);
    for (CudaRuntime::Event event : spare_events_) cuda_.DestroyEvent(event);
    if (ready_) cuda_.DestroyEvent(ready_);
    if (barrier_word_) cuda_.Free(barrier_word_);
    if (stream_) cuda_.Destroy(stream_);
  }

  Status Connect(const ncclUniqueId& id, int device) {
    CANDOR_TRY(cuda_.SetDevice(device));
    CANDOR_ASSIGN(stream_, cuda_.MakeStream());
    CANDOR_ASSIGN(ready_, cuda_.MakeEvent());
    CANDOR_ASSIGN(barrier_word_, cuda_.Allocate(sizeof(int64_t)));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    {
      std::scoped_lock lock(comm_mutex_);
      const ncclResult_t code = lib_.comm_init(&comm_, size_, id, rank_, &config);
      if (code != ncclSuccess && code != ncclInProgress) return Broken(std::string("ncclCommInitRank: ") + lib_.error_string(code));
    }
    return AwaitReady("ncclCommInitRank");
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const char* backend() const override { return "nccl"; }

  Result<Ticket> Start(std::span<const CollectiveCall> calls) override {
    if (broken_) return Broken("it was broken before");
    Group group;
    group.what = calls.empty()       ? "an empty group"
                 : calls.size() == 1 ? Describe(calls[0])
                                     : "a group that begins with " + Describe(calls[0]);
    CANDOR_TRY(cuda_.Record(ready_, nullptr));  // what the default stream computed up to here
    CANDOR_TRY(cuda_.MakeWait(stream_, ready_));
    {
      std::scoped_lock lock(comm_mutex_);
      if (!comm_) return Broken("it was aborted");
      if (Status issued = Issue(calls); !issued) {
        AbortLocked();
        return Fail(issued.error());
      }
    }
    CANDOR_TRY(AwaitReady(group.what));  // only then is the group on the stream
    CANDOR_ASSIGN(group.done, TakeEvent());
    CANDOR_TRY(cuda_.Record(group.done, stream_));
    groups_.emplace(++last_ticket_, group);
    return last_ticket_;
  }

  Status Wait(Ticket ticket) override {
    auto found = groups_.find(ticket);
    if (found == groups_.end()) return Fail(ErrorCode::kInternal, fmt::format("no collective has the ticket {}", ticket));
    const Group group = found->second;
    Status done = Poll(group.what, [&]() -> Result<bool> {
      CANDOR_TRY(State(group.what));
      return cuda_.IsDone(group.done);
    });
    if (!done) return done;
    groups_.erase(found);
    spare_events_.push_back(group.done);
    return {};
  }

  Status Health() override { return broken_ ? Status(Fail(ErrorCode::kCollective, "the collective broke")) : bootstrap_.Health(); }
  void Abort() override {
    broken_ = true;
    std::scoped_lock lock(comm_mutex_);
    AbortLocked();
  }

 private:
  struct Group {
    std::string what;
    CudaRuntime::Event done = nullptr;
  };

  void AbortLocked() {
    broken_ = true;
    if (comm_) lib_.comm_abort(comm_);  // ends its kernels; the communicator is gone afterwards
    comm_ = nullptr;
  }
  tl::unexpected<Error> Broken(const std::string& why) {
    broken_ = true;
    return Fail(ErrorCode::kCollective, "the collective broke: " + why, fmt::format("nccl rank {} of {}", rank_, size_),
                "the learner restarts from its newest checkpoint");
  }

  Status Issue(std::span<const CollectiveCall> calls) {
    lib_.group_start();
    ncclResult_t worst = ncclSuccess;
    std::string what;
    for (const CollectiveCall& call : calls)
      if (const ncclResult_t code = IssueCall(call); code != ncclSuccess && code != ncclInProgress && worst == ncclSuccess)
        worst = code, what = Describe(call);
    const ncclResult_t end = lib_.group_end();
    if (worst == ncclSuccess && end != ncclSuccess && end != ncclInProgress) worst = end, what = "ncclGroupEnd";
    if (worst != ncclSuccess) return Broken(fmt::format("{}: {}: {}", what, lib_.error_string(worst), lib_.last_error(comm_)));
    return {};
  }
  ncclResult_t IssueCall(const CollectiveCall& call) {
    const ncclDataType_t type = NcclType(call.type);
    const auto stream = static_cast<cudaStream_t>(stream_);
    switch (call.kind) {
      case CallKind::kAllReduce:
        return lib_.all_reduce(call.in, call.out, call.count, type, NcclOp(call.op), comm_, stream);
      case CallKind::kReduceScatter:
        return lib_.reduce_scatter(call.in, call.out, call.count, type, NcclOp(call.op), comm_, stream);
      case CallKind::kAllGather:
        return lib_.all_gather(call.in, call.out, call.count, type, comm_, stream);
      case CallKind::kBroadcast:
        return lib_.broadcast(call.in ? call.in : call.out, call.out, call.count, type, call.peer, comm_, stream);
      case CallKind::kSend:
        return lib_.send(call.in, call.count, type, call.peer, comm_, stream);
      case CallKind::kReceive:
        return lib_.recv(call.out, call.count, type, call.peer, comm_, stream);
      case CallKind::kBarrier:
        return lib_.all_reduce(barrier_word_, barrier_word_, 1, ncclInt64, ncclMax, comm_, stream);
    }
    return ncclInvalidArgument;
  }

  // Whether the communicator is ready for the next call; its asynchronous error.
  Result<bool> State(const std::string& what) {
    std::scoped_lock lock(comm_mutex_);
    if (!comm_) return Broken(what + " was aborted");
    ncclResult_t state = ncclSuccess;
    if (const ncclResult_t code = lib_.async_error(comm_, &state); code != ncclSuccess) state = code;
    if (state == ncclInProgress) return false;
    if (state == ncclSuccess) return true;
    const std::string why = fmt::format("{}: {}: {}", what, lib_.error_string(state), lib_.last_error(comm_));
    AbortLocked();
    return Broken(why);
  }
  Status AwaitReady(const std::string& what) {
    return Poll(what, [&] { return State(what); });
  }
  template <typename Done>
  Status Poll(const std::string& what, Done done) {
    const SystemClock clock;
    const int64_t start_ms = clock.SteadyMs();
    for (int attempt = 0;; ++attempt) {
      Result<bool> ready = done();
      if (ready && *ready) return {};
      const int64_t waited_ms = clock.SteadyMs() - start_ms;
      if (ready && waited_ms > options_.deadline_ms) ready = Broken(fmt::format("{} waited {} ms for its peers", what, waited_ms));
      if (Status health = ready && attempt % 200 == 199 ? bootstrap_.Health() : Status{}; !health) ready = Fail(health.error());
      if (!ready) {
        Abort();
        return Fail(ready.error());
      }
      timespec pause{0, std::min(200'000L, 5'000L + 500L * attempt)};
      nanosleep(&pause, nullptr);
    }
  }

  // All ranks come to it; what they started is done first. Nobody waits longer than the deadline.
  void Finalize() {
    {
      std::scoped_lock lock(comm_mutex_);
      const ncclResult_t code = lib_.comm_finalize(comm_);
      if (code != ncclSuccess && code != ncclInProgress) return AbortLocked();
    }
    if (!AwaitReady("ncclCommFinalize")) return;
    std::scoped_lock lock(comm_mutex_);
    lib_.comm_destroy(comm_);
    comm_ = nullptr;
  }
  Result<CudaRuntime::Event> TakeEvent() {
    if (spare_events_.empty()) return cuda_.MakeEvent();
    CudaRuntime::Event event = spare_events_.back();
    spare_events_.pop_back();
    return event;
  }

  const NcclLibrary lib_;
  const CudaRuntime& cuda_;
  Collective& bootstrap_;
  const int rank_, size_;
  const CollectiveOptions options_;
  std::mutex comm_mutex_;  // Abort comes from any thread and ends the communicator
  ncclComm_t comm_ = nullptr;
  CudaRuntime::Stream stream_ = nullptr;
  CudaRuntime::Event ready_ = nullptr;
  void* barrier_word_ = nullptr;
  std::map<Ticket, Group> groups_;
  std::vector<CudaRuntime::Event> spare_events_;
  Ticket last_ticket_ = 0;
  std::atomic<bool> broken_ = false;
};

}  // namespace

Result<std::unique_ptr<Collective>> MakeNcclCollective(Collective& bootstrap, int device, CollectiveOptions options) {
  CANDOR_ASSIGN(const CudaRuntime* cuda, CudaRuntime::Open());
  CANDOR_ASSIGN(const NcclLibrary lib, OpenNccl());
  ncclUniqueId id{};
  if (bootstrap.rank() == 0)
    if (ncclResult_t made = lib.get_unique_id(&id); made != ncclSuccess)
      return Fail(ErrorCode::kCollective, std::string("ncclGetUniqueId: ") + lib.error_string(made));
  CANDOR_TRY(bootstrap.Broadcast(&id, sizeof id, ElementType::kByte, 0));
  auto collective = std::make_unique<NcclCollective>(lib, *cuda, bootstrap, options);
  CANDOR_TRY(collective->Connect(id, device));
  return std::unique_ptr<Collective>(std::move(collective));
}

}  // namespace candor
