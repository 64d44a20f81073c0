// The MPI backend (host memory). Open MPI is opened by name at run time, so that laptops and the front program do without it; mpi.h gives
// types only, the handles behind its macros are looked up as symbols. Data moves by non-blocking MPI collectives that are polled with a
// back-off and a deadline (a blocking wait burns a whole core and never gives up); sums are made here in rank order, so that the bits equal
// the local backend's.
#define OMPI_SKIP_MPICXX 1  // the C++ bindings would need libmpi at link time
#include <dlfcn.h>
#include <fmt/format.h>
#include <mpi.h>
#include <sched.h>
#include <time.h>

#include <atomic>
#include <chrono>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <map>

#include "core/collective.h"
#include "core/collective_reduce.h"
#include "core/launch.h"

namespace candor {

namespace {

struct MpiLibrary {
  decltype(&MPI_Init_thread) init_thread = nullptr;
  decltype(&MPI_Finalize) finalize = nullptr;
  decltype(&MPI_Comm_rank) comm_rank = nullptr;
  decltype(&MPI_Comm_size) comm_size = nullptr;
  decltype(&MPI_Comm_set_errhandler) set_errhandler = nullptr;
  decltype(&MPI_Iallgather) iallgather = nullptr;
  decltype(&MPI_Ialltoall) ialltoall = nullptr;
  decltype(&MPI_Ibcast) ibcast = nullptr;
  decltype(&MPI_Ibarrier) ibarrier = nullptr;
  decltype(&MPI_Isend) isend = nullptr;
  decltype(&MPI_Irecv) irecv = nullptr;
  decltype(&MPI_Test) test = nullptr;
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
            Look(handle, "MPI_Comm_set_errhandler", mpi.set_errhandler) && Look(handle, "MPI_Iallgather", mpi.iallgather) &&
            Look(handle, "MPI_Ialltoall", mpi.ialltoall) && Look(handle, "MPI_Ibcast", mpi.ibcast) &&
            Look(handle, "MPI_Ibarrier", mpi.ibarrier) && Look(handle, "MPI_Isend", mpi.isend) && Look(handle, "MPI_Irecv", mpi.irecv) &&
            Look(handle, "MPI_Test", mpi.test) && Look(handle, "ompi_mpi_comm_world", mpi.world) &&
            Look(handle, "ompi_mpi_byte", mpi.byte) && Look(handle, "ompi_mpi_errors_return", mpi.errors_return);
  if (!ok) return Fail(ErrorCode::kVersionSkew, "libmpi is not an Open MPI 4", "", "Candor needs Open MPI 4.x (libmpi.so.40)");
  return mpi;
}

class MpiCollective final : public Collective {
 public:
  MpiCollective(MpiLibrary mpi, int rank, int size, CollectiveOptions options) : mpi_(mpi), rank_(rank), size_(size), options_(options) {}
  ~MpiCollective() override {
    if (!broken_) mpi_.finalize();  // after a break it would wait for the dead peer
  }
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  const char* backend() const override { return "mpi"; }

  Status AllReduce(void* data, size_t count, ElementType type, ReduceOp op) override {
    const size_t slice = (count + static_cast<size_t>(size_) - 1) / static_cast<size_t>(size_), bytes = slice * SizeOf(type);
    std::vector<char> padded(bytes * static_cast<size_t>(size_)), own(bytes);
    std::memcpy(padded.data(), data, count * SizeOf(type));
    CANDOR_TRY(ReduceScatter(padded.data(), own.data(), slice, type, op));
    CANDOR_TRY(AllGather(own.data(), padded.data(), slice, type));
    std::memcpy(data, padded.data(), count * SizeOf(type));
    return {};
  }
  Status ReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op) override {
    CANDOR_ASSIGN(Ticket ticket, StartReduceScatter(in, out, count, type, op));
    return Wait(ticket);
  }
  Status AllGather(const void* in, void* out, size_t count, ElementType type) override {
    CANDOR_ASSIGN(Ticket ticket, StartAllGather(in, out, count, type));
    return Wait(ticket);
  }
  Result<Ticket> StartAllGather(const void* in, void* out, size_t count, ElementType type) override {
    const size_t bytes = count * SizeOf(type);
    CANDOR_TRY(Fits(bytes));
    Pending pending{fmt::format("all_gather of {} bytes", bytes), MPI_Request{}, {}, nullptr, 0, type, ReduceOp::kSum};
    CANDOR_TRY(Check(
        mpi_.iallgather(in, static_cast<int>(bytes), mpi_.byte, out, static_cast<int>(bytes), mpi_.byte, mpi_.world, &pending.request),
        pending.what));
    return Remember(std::move(pending));
  }
  Result<Ticket> StartReduceScatter(const void* in, void* out, size_t count, ElementType type, ReduceOp op) override {
    const size_t bytes = count * SizeOf(type);
    CANDOR_TRY(Fits(bytes));
    Pending pending{fmt::format("reduce_scatter of {} bytes", bytes),
                    MPI_Request{},
                    std::vector<char>(bytes * static_cast<size_t>(size_)),
                    out,
                    count,
                    type,
                    op};
    CANDOR_TRY(Check(mpi_.ialltoall(in, static_cast<int>(bytes), mpi_.byte, pending.received.data(), static_cast<int>(bytes), mpi_.byte,
                                    mpi_.world, &pending.request),
                     pending.what));
    return Remember(std::move(pending));
  }
  Status Wait(Ticket ticket) override {
    auto found = pending_.find(ticket);
    if (found == pending_.end()) return Fail(ErrorCode::kInternal, fmt::format("no collective has the ticket {}", ticket));
    Pending& pending = found->second;
    Status done = Finish(pending.request, pending.what);
    if (done && pending.out) {
      std::vector<const void*> inputs;
      for (int r = 0; r < size_; ++r)
        inputs.push_back(pending.received.data() + static_cast<size_t>(r) * pending.count * SizeOf(pending.type));
      ReduceInRankOrder(inputs, 0, pending.out, pending.count, pending.type, pending.op);
    }
    if (done) pending_.erase(found);  // else MPI may still write into its buffer
    return done;
  }
  Status Broadcast(void* data, size_t count, ElementType type, int root) override {
    const size_t bytes = count * SizeOf(type);
    CANDOR_TRY(Fits(bytes));
    MPI_Request request{};
    CANDOR_TRY(Check(mpi_.ibcast(data, static_cast<int>(bytes), mpi_.byte, root, mpi_.world, &request), "broadcast"));
    return Finish(request, fmt::format("broadcast of {} bytes from rank {}", bytes, root));
  }
  Status Send(const void* data, size_t bytes, int to) override {
    CANDOR_TRY(Fits(bytes));
    MPI_Request request{};
    CANDOR_TRY(Check(mpi_.isend(data, static_cast<int>(bytes), mpi_.byte, to, 0, mpi_.world, &request), "send"));
    return Finish(request, fmt::format("send of {} bytes to rank {}", bytes, to));
  }
  Status Receive(void* data, size_t bytes, int from) override {
    CANDOR_TRY(Fits(bytes));
    MPI_Request request{};
    CANDOR_TRY(Check(mpi_.irecv(data, static_cast<int>(bytes), mpi_.byte, from, 0, mpi_.world, &request), "receive"));
    return Finish(request, fmt::format("receive of {} bytes from rank {}", bytes, from));
  }
  Status Barrier() override {
    MPI_Request request{};
    CANDOR_TRY(Check(mpi_.ibarrier(mpi_.world, &request), "barrier"));
    return Finish(request, "barrier");
  }
  void Abort() override { broken_ = true; }

 private:
  struct Pending {
    std::string what;
    MPI_Request request;
    std::vector<char> received;  // reduce-scatter: every rank's slice for us
    void* out;                   // reduce-scatter: where the sum goes; null for the others
    size_t count;
    ElementType type;
    ReduceOp op;
  };

  tl::unexpected<Error> Broken(const std::string& why) {
    broken_ = true;
    return Fail(ErrorCode::kCollective, "the collective broke: " + why, fmt::format("mpi rank {} of {}", rank_, size_),
                "the learner restarts from its newest checkpoint");
  }
  Status Fits(size_t bytes) {
    if (broken_) return Broken("it was broken before");
    if (bytes <= static_cast<size_t>(INT_MAX)) return {};
    return Fail(ErrorCode::kInvalidInput, fmt::format("{} bytes are more than one MPI message holds (2 GiB)", bytes), "",
                "use more ranks, so that each slice is smaller");
  }
  Status Check(int code, const std::string& what) {
    if (code == MPI_SUCCESS) return {};
    return Broken(fmt::format("{} failed with MPI error {}", what, code));
  }
  Result<Ticket> Remember(Pending pending) {
    pending_.emplace(++last_ticket_, std::move(pending));
    return last_ticket_;
  }
  // Polls with a back-off from a yield to half a millisecond: idle ranks leave the core to whoever works.
  Status Finish(MPI_Request& request, const std::string& what) {
    const auto start = std::chrono::steady_clock::now();
    long sleep_ns = 0;
    for (int polls = 0;; ++polls) {
      int done = 0;
      CANDOR_TRY(Check(mpi_.test(&request, &done, MPI_STATUS_IGNORE), what));
      if (done) return {};
      if (broken_) return Broken(what + " was aborted");
      if (polls < 200) {
        sched_yield();
        continue;
      }
      const auto waited = std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() - start).count();
      if (waited > options_.deadline_ms) return Broken(fmt::format("{} waited {} ms for its peers", what, waited));
      sleep_ns = std::min(500'000L, sleep_ns + 10'000L);
      timespec pause{0, sleep_ns};
      nanosleep(&pause, nullptr);
    }
  }

  const MpiLibrary mpi_;
  const int rank_, size_;
  const CollectiveOptions options_;
  std::atomic<bool> broken_ = false;
  std::map<Ticket, Pending> pending_;
  Ticket last_ticket_ = 0;
};

}  // namespace

Result<std::unique_ptr<Collective>> MakeMpiCollective(CollectiveOptions options) {
  if (!LauncherOfThisProcess()) return std::move(MakeLocalCollectives(1, options).front());
  CANDOR_ASSIGN(MpiLibrary mpi, OpenMpi());
  int provided = 0, rank = 0, size = 1;
  if (mpi.init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided) != MPI_SUCCESS)
    return Fail(ErrorCode::kCollective, "MPI_Init failed", "", "start the ranks with mpirun or srun --mpi=pmix");
  mpi.set_errhandler(mpi.world, mpi.errors_return);
  mpi.comm_rank(mpi.world, &rank);
  mpi.comm_size(mpi.world, &size);
  return std::unique_ptr<Collective>(std::make_unique<MpiCollective>(mpi, rank, size, options));
}

}  // namespace candor
