// NCCL's own functions over tests/dist/fake_nccl_exchange.cc. Built as libnccl.so.2 in a folder of its own.
#include "tests/dist/fake_nccl.h"

#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstring>

#include "tests/dist/fake_cudart.h"

using fake_nccl::Call;
using fake_nccl::Kind;

namespace {

constexpr auto kProgress = std::chrono::microseconds(300);  // how long a call stays "in progress"

struct Queued {
  ncclComm_t comm;
  cudaStream_t stream;
  Call call;
};
thread_local int t_depth = 0;
thread_local std::vector<Queued> t_group;

struct Launched {
  ncclComm_t comm;
  std::vector<Call> calls;
};

void RunLaunched(void* data) {
  auto* launched = static_cast<Launched*>(data);
  fake_nccl::RunGroup(*launched->comm, launched->calls);
  --launched->comm->running;
  delete launched;
}

ncclResult_t Launch() {
  std::vector<Queued> group = std::move(t_group);
  t_group.clear();
  if (group.empty()) return ncclSuccess;
  ncclComm_t comm = group[0].comm;
  auto* launched = new Launched{comm, {}};
  for (const Queued& queued : group) launched->calls.push_back(queued.call);
  comm->state = ncclInProgress;
  comm->running += 2;
  std::thread([comm, launched, stream = group[0].stream] {  // only later is the group on the stream
    std::this_thread::sleep_for(kProgress);
    cudaLaunchHostFunc(stream, RunLaunched, launched);
    ncclResult_t expected = ncclInProgress;
    comm->state.compare_exchange_strong(expected, ncclSuccess);
    --comm->running;
  })
      .detach();
  return ncclInProgress;
}

ncclResult_t Enqueue(ncclComm_t comm, cudaStream_t stream, const Call& call) {
  if (comm->state == ncclInProgress) {
    comm->Break(ncclInvalidUsage, fake_nccl::Describe(call) + " was called while the communicator is in progress");
    return ncclInvalidUsage;
  }
  if (comm->state != ncclSuccess) return comm->state;
  if (!CandorFakeOwns(call.in, fake_nccl::InBytes(call, comm->ranks)) ||
      !CandorFakeOwns(call.out, fake_nccl::OutBytes(call, comm->ranks))) {
    comm->Break(ncclInvalidArgument, fake_nccl::Describe(call) + " was given memory that is not on the device");
    return ncclInvalidArgument;
  }
  t_group.push_back({comm, stream, call});
  return t_depth > 0 ? ncclSuccess : Launch();
}

void Join(ncclComm_t comm) {
  if (fake_nccl::Asked("init-hang", comm->rank)) comm->Await([] { return false; });
  ++comm->shared->joined;
  const bool all = comm->Await([&] { return comm->shared->joined >= comm->ranks; });
  if (comm->rank == 0) ::shm_unlink(comm->id.c_str());
  if (all && fake_nccl::Asked("init-error", comm->rank)) comm->Break(ncclSystemError, "an injected error at the start");
  ncclResult_t expected = ncclInProgress;
  if (all) comm->state.compare_exchange_strong(expected, ncclSuccess);
  --comm->running;
}

}  // namespace

void ncclComm::Break(ncclResult_t code, const std::string& why) {
  std::scoped_lock lock(mutex);
  if (last_error.empty()) last_error = "fake nccl: " + why;
  state = code;
}

extern "C" {

const char* ncclGetErrorString(ncclResult_t code) {
  static constexpr const char* kNames[] = {"no error",
                                           "unhandled cuda error",
                                           "unhandled system error",
                                           "internal error",
                                           "invalid argument",
                                           "invalid usage",
                                           "remote process exited or there was a network error",
                                           "in progress"};
  return code >= 0 && code <= 7 ? kNames[code] : "unknown result code";
}
const char* ncclGetLastError(ncclComm_t comm) {
  std::scoped_lock lock(comm->mutex);
  return comm->last_error.c_str();
}
ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  static std::atomic<int> made{0};
  std::snprintf(id->internal, sizeof id->internal, "/candor-fake-nccl-%d-%lld-%d", ::getpid(),
                static_cast<long long>(std::chrono::steady_clock::now().time_since_epoch().count()), ++made);
  return ncclSuccess;
}

ncclResult_t ncclCommInitRankConfig(ncclComm_t* out, int ranks, ncclUniqueId id, int rank, ncclConfig_t* config) {
  if (config->blocking != 0 || ranks > fake_nccl::kMaxRanks || rank < 0 || rank >= ranks) return ncclInvalidArgument;
  auto* comm = new ncclComm;  // never freed: what it started may still look at it after an abort
  comm->id = id.internal, comm->rank = rank, comm->ranks = ranks;
  comm->shared = reinterpret_cast<fake_nccl::Shared*>(fake_nccl::MapShared(comm->id, sizeof(fake_nccl::Shared)));
  comm->running = 1;
  std::thread(Join, comm).detach();
  *out = comm;
  return ncclInProgress;
}
ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* state) {
  *state = comm->state;
  return ncclSuccess;
}
ncclResult_t ncclCommAbort(ncclComm_t comm) {
  comm->aborted = true;
  while (comm->running > 0) std::this_thread::sleep_for(std::chrono::microseconds(100));
  return ncclSuccess;
}
ncclResult_t ncclCommFinalize(ncclComm_t comm) {
  if (comm->state != ncclSuccess) return ncclInvalidUsage;
  comm->state = ncclInProgress;
  std::thread([comm] {
    comm->Await([&] { return comm->running == 0; });
    ncclResult_t expected = ncclInProgress;
    comm->state.compare_exchange_strong(expected, ncclSuccess);
  }).detach();
  return ncclInProgress;
}
ncclResult_t ncclCommDestroy(ncclComm_t comm) { return comm->state == ncclSuccess ? ncclSuccess : ncclInvalidUsage; }

ncclResult_t ncclGroupStart() {
  ++t_depth;
  return ncclSuccess;
}
ncclResult_t ncclGroupEnd() {
  if (t_depth == 0) return ncclInvalidUsage;
  return --t_depth > 0 ? ncclSuccess : Launch();
}
ncclResult_t ncclAllReduce(const void* in, void* out, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                           cudaStream_t stream) {
  return Enqueue(comm, stream, {Kind::kAllReduce, in, out, count, type, op});
}
ncclResult_t ncclReduceScatter(const void* in, void* out, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm,
                               cudaStream_t stream) {
  return Enqueue(comm, stream, {Kind::kReduceScatter, in, out, count, type, op});
}
ncclResult_t ncclAllGather(const void* in, void* out, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream) {
  return Enqueue(comm, stream, {Kind::kAllGather, in, out, count, type});
}
ncclResult_t ncclBroadcast(const void* in, void* out, size_t count, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t stream) {
  return Enqueue(comm, stream, {Kind::kBroadcast, in, out, count, type, ncclSum, root});
}
ncclResult_t ncclSend(const void* in, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  return Enqueue(comm, stream, {Kind::kSend, in, nullptr, count, type, ncclSum, peer});
}
ncclResult_t ncclRecv(void* out, size_t count, ncclDataType_t type, int peer, ncclComm_t comm, cudaStream_t stream) {
  return Enqueue(comm, stream, {Kind::kReceive, nullptr, out, count, type, ncclSum, peer});
}

}  // extern "C"
