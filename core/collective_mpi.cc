// The MPI backend (host memory). Open MPI is opened by name at run time, so that laptops and the front program do without it; mpi.h gives
// types only, the handles behind its macros are looked up as symbols. Messages are non-blocking and are tested with a back-off (a blocking
// wait burns a whole core and never gives up) by the one thread that uses MPI (core/collective_mesh.h), so that they make progress while
// the rank computes. Each rank sends a sign of life to the next one once a second: Slurm may never notice that a node was lost.
#define OMPI_SKIP_MPICXX 1  // the C++ bindings would need libmpi at link time
#include <dlfcn.h>
#include <fmt/format.h>
#include <mpi.h>
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cstdlib>
#include <deque>

#include "core/collective.h"
#include "core/collective_mesh.h"
#include "core/launch.h"

namespace candor {

namespace {

struct MpiLibrary {
  decltype(&MPI_Init_thread) init_thread = nullptr;
  decltype(&MPI_Finalize) finalize = nullptr;
  decltype(&MPI_Comm_rank) comm_rank = nullptr;
  decltype(&MPI_Comm_size) comm_size = nullptr;
  decltype(&MPI_Comm_set_errhandler) set_errhandler = nullptr;
  decltype(&MPI_Isend) isend = nullptr;
  decltype(&MPI_Irecv) irecv = nullptr;
  decltype(&MPI_Test) test = nullptr;
  decltype(&MPI_Cancel) cancel = nullptr;
  MPI_Comm world = nullptr;
  MPI_Datatype byte = nullptr;
  MPI_Errhandler errors_return = nullptr;
};

template <typename F>
bool Look(void* handle, const char* name, F& target) {
  target = reinterpret_cast<F>(dlsym(handle, name));
  return target != nullptr;
}

Result<MpiLibrary> OpenMpi() {
  void* handle = nullptr;
  for (const char* name : {"libmpi.so.40", "libmpi.so"})
    if ((handle = dlopen(name, RTLD_NOW | RTLD_GLOBAL))) break;
  if (!handle)
    return Fail(ErrorCode::kNotFound, "Open MPI cannot be opened", dlerror(),
                "install openmpi-bin (tools/setup.sh does), load your site's Open MPI 4 module, or use trainer.ranks=1");
  MpiLibrary mpi;
  bool ok = Look(handle, "MPI_Init_thread", mpi.init_thread) && Look(handle, "MPI_Finalize", mpi.finalize) &&
            Look(handle, "MPI_Comm_rank", mpi.comm_rank) && Look(handle, "MPI_Comm_size", mpi.comm_size) &&
            Look(handle, "MPI_Comm_set_errhandler", mpi.set_errhandler) && Look(handle, "MPI_Isend", mpi.isend) &&
            Look(handle, "MPI_Irecv", mpi.irecv) && Look(handle, "MPI_Test", mpi.test) && Look(handle, "MPI_Cancel", mpi.cancel) &&
            Look(handle, "ompi_mpi_comm_world", mpi.world) && Look(handle, "ompi_mpi_byte", mpi.byte) &&
            Look(handle, "ompi_mpi_errors_return", mpi.errors_return);
  if (!ok) return Fail(ErrorCode::kVersionSkew, "libmpi is not an Open MPI 4", "", "Candor needs Open MPI 4.x (libmpi.so.40)");
  return mpi;
}

constexpr int kHeaderTag = 0, kPayloadTag = 1, kBeatTag = 2;
constexpr size_t kChunkBytes = size_t{1} << 30;  // one MPI message holds less than 2 GiB

class MpiMesh final : public ByteMesh {
 public:
  MpiMesh(MpiLibrary mpi, CollectiveOptions options) : mpi_(mpi), timer_(options.silence_ms) {}
  const char* name() const override { return "mpi"; }
  int rank() const override { return rank_; }
  int size() const override { return size_; }

  Status Open() override {
    int provided = 0;
    if (mpi_.init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
      return Fail(ErrorCode::kCollective, "MPI_Init failed", "", "start the ranks with mpirun or srun --mpi=pmix");
    mpi_.set_errhandler(mpi_.world, mpi_.errors_return);
    mpi_.comm_rank(mpi_.world, &rank_);
    mpi_.comm_size(mpi_.world, &size_);
    return {};
  }

  Status Begin(std::span<const Outgoing> out, std::span<const Incoming> in) override {
    in_ = {in.begin(), in.end()};
    headers_.assign(in.size(), {});
    header_requests_.assign(in.size(), MPI_Request{});
    checked_ = 0;
    requests_.clear();
    for (size_t i = 0; i < in.size(); ++i)
      CANDOR_TRY(Receive(&headers_[i], sizeof(CallHeader), in[i].from, kHeaderTag, header_requests_[i]));
    for (const Outgoing& message : out) {
      CANDOR_TRY(Send(&message.header, sizeof(CallHeader), message.to, kHeaderTag));
      for (size_t at = 0; at < message.bytes; at += kChunkBytes)
        CANDOR_TRY(Send(message.data + at, std::min(kChunkBytes, message.bytes - at), message.to, kPayloadTag));
    }
    return {};
  }

  // The payload of a message is asked for once its header was checked; in list order, as the payloads of one pair are told apart by order.
  Result<bool> Poll(int attempt) override {
    while (checked_ < in_.size()) {
      CANDOR_ASSIGN(const bool came, Test(header_requests_[checked_]));
      if (!came) break;
      CANDOR_TRY(ReceivePayload(checked_++));
    }
    bool all = checked_ == in_.size();
    for (MPI_Request& request : requests_) {
      CANDOR_ASSIGN(const bool done, Test(request));
      all = all && done;
    }
    if (!all) Pause(attempt);
    return all;
  }

  Status Beat(int64_t now_ms) override {
    if (size_ == 1) return {};
    const int next = (rank_ + 1) % size_, before = (rank_ + size_ - 1) % size_;
    if (timer_.Due(now_ms)) {
      CANDOR_ASSIGN(const bool sent, beat_out_ ? Test(beat_out_) : Result<bool>(true));
      if (sent) CANDOR_TRY(Check(mpi_.isend(&beat_, 1, mpi_.byte, next, kBeatTag, mpi_.world, &beat_out_), "send"));
    }
    for (;;) {
      if (!beat_in_) CANDOR_TRY(Receive(&heard_, 1, before, kBeatTag, beat_in_));
      CANDOR_ASSIGN(const bool came, Test(beat_in_));
      if (!came) break;
      beat_in_ = nullptr;
      timer_.Heard(now_ms);
    }
    if (const int64_t silent_ms = timer_.SilentMs(now_ms); silent_ms > 0)
      return Fail(ErrorCode::kCollective, fmt::format("rank {} gave no sign of life for {} ms", before, silent_ms));
    return {};
  }

  // After a break MPI_Finalize would wait for the lost peer.
  void Close(bool orderly) override {
    if (!orderly) return;
    if (beat_in_) mpi_.cancel(&beat_in_);
    mpi_.finalize();
  }

 private:
  Status Check(int code, const std::string& what) {
    if (code == MPI_SUCCESS) return {};
    return Fail(ErrorCode::kCollective, fmt::format("a {} failed with MPI error {}", what, code));
  }
  Status Send(const void* data, size_t bytes, int to, int tag) {
    requests_.emplace_back();
    return Check(mpi_.isend(data, static_cast<int>(bytes), mpi_.byte, to, tag, mpi_.world, &requests_.back()), "send");
  }
  Status Receive(void* data, size_t bytes, int from, int tag, MPI_Request& request) {
    return Check(mpi_.irecv(data, static_cast<int>(bytes), mpi_.byte, from, tag, mpi_.world, &request), "receive");
  }
  Status ReceivePayload(size_t i) {
    const Incoming& message = in_[i];
    if (!(headers_[i] == message.header)) return Disagree(message.from, headers_[i], message.header);
    for (size_t at = 0; at < message.bytes; at += kChunkBytes) {
      requests_.emplace_back();
      CANDOR_TRY(Receive(message.data + at, std::min(kChunkBytes, message.bytes - at), message.from, kPayloadTag, requests_.back()));
    }
    return {};
  }
  Result<bool> Test(MPI_Request& request) {
    int done = 0;
    CANDOR_TRY(Check(mpi_.test(&request, &done, MPI_STATUS_IGNORE), "message"));
    return done != 0;
  }
  // From a yield to half a millisecond: whoever waits leaves the core to whoever works.
  static void Pause(int attempt) {
    if (attempt < 50) {
      sched_yield();
      return;
    }
    timespec pause{0, std::min(500'000L, 10'000L + 1'000L * (attempt - 50))};
    nanosleep(&pause, nullptr);
  }

  const MpiLibrary mpi_;
  BeatTimer timer_;
  int rank_ = 0, size_ = 1;
  std::vector<Incoming> in_;
  std::vector<CallHeader> headers_;
  std::vector<MPI_Request> header_requests_;
  std::deque<MPI_Request> requests_;  // a test writes into its element
  size_t checked_ = 0;
  char beat_ = 1, heard_ = 0;
  MPI_Request beat_out_ = nullptr, beat_in_ = nullptr;
};

}  // namespace

Result<std::unique_ptr<Collective>> MakeMpiCollective(CollectiveOptions options) {
  if (!LauncherOfThisProcess()) return std::move(MakeLocalCollectives(1, options).front());
  CANDOR_ASSIGN(MpiLibrary mpi, OpenMpi());
  return MakeMeshCollective(std::make_unique<MpiMesh>(mpi, options), options);
}

}  // namespace candor
