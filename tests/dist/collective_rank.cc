// One rank of the tests of collectives: collective_rank BACKEND SCENARIO, with BACKEND = mpi | tcp | nccl. mpi is started by mpirun; tcp
// and nccl find their peers as core/collective_join.h says (a launcher, or CANDOR_RANK and a rendezvous). Prints one line "SCENARIO rank R:
// passed" or what it saw; exit code 0 when this rank saw what it should, 75 after a broken collective, 77 without a GPU.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <thread>

#include "core/clock.h"
#include "core/collective_join.h"
#include "tests/dist/collective_conformance.h"
#include "tests/dist/on_device.h"

namespace candor {
namespace {

// Every scenario but the suite ends in an error on the ranks that live; it says what they were doing.
Status RunScenario(const std::string& name, Collective& c) {
  const bool last = c.rank() == c.size() - 1;
  std::vector<float> data(64, 1.0f), all(64 * static_cast<size_t>(c.size()));
  CANDOR_TRY(c.Barrier());
  CANDOR_TRY(c.AllReduce(data.data(), 8, ElementType::kFloat32, ReduceOp::kSum));  // all is well so far
  if (name == "wrong_count") return c.AllReduce(data.data(), last ? 8 : 4, ElementType::kFloat32, ReduceOp::kSum);
  if (name == "wrong_type") return c.AllGather(data.data(), all.data(), 4, last ? ElementType::kInt64 : ElementType::kFloat32);
  if (name == "wrong_order") {
    if (last) CANDOR_TRY(c.AllReduce(data.data(), 4, ElementType::kFloat32, ReduceOp::kMax));
    CANDOR_TRY(c.AllGather(data.data(), all.data(), 4, ElementType::kFloat32));
    if (!last) CANDOR_TRY(c.AllReduce(data.data(), 4, ElementType::kFloat32, ReduceOp::kMax));
    return {};
  }
  if (name == "wrong_grouping") {
    const CollectiveCall gather{CallKind::kAllGather, data.data(), all.data(), 4, ElementType::kFloat32};
    const CollectiveCall barrier{CallKind::kAllReduce, data.data(), data.data(), 1, ElementType::kFloat32};
    if (last) return c.RunGroup(std::vector<CollectiveCall>{gather, barrier});
    CANDOR_TRY(c.Run(gather));
    return c.Run(barrier);
  }
  if (name == "ungrouped") {  // each sends before it receives
    std::vector<char> big(32 << 20), other(32 << 20);
    CANDOR_TRY(c.Send(big.data(), big.size(), (c.rank() + 1) % c.size()));
    return c.Receive(other.data(), other.size(), (c.rank() + c.size() - 1) % c.size());
  }
  if (name == "idle") {  // whoever waits leaves the core to whoever works
    if (last) std::this_thread::sleep_for(std::chrono::seconds(2));
    const std::clock_t before = std::clock();
    CANDOR_TRY(c.Barrier());
    const double busy = static_cast<double>(std::clock() - before) / CLOCKS_PER_SEC;
    // Spinning would take all 2 s; a busy machine makes each look dearer.
    std::printf("idle rank %d: %.3f s of processor time\n", c.rank(), busy);
    return busy < 1.0 ? Status{} : Status(Fail(ErrorCode::kInternal, fmt::format("waiting 2 s took {:.3f} s of processor time", busy)));
  }
  if (last && name == "hang") ::pause();
  if (last && name == "stop") ::raise(SIGSTOP);
  if (last && name == "die") ::raise(SIGKILL);
  if (last && name == "leave") ::_exit(1);
  std::thread other;
  if (name == "abort") {
    if (last) std::this_thread::sleep_for(std::chrono::seconds(3));
    other = std::thread([&] { std::this_thread::sleep_for(std::chrono::milliseconds(300)), c.Abort(); });
  }
  Status status;
  for (int i = 0; status && i < 20; ++i) {
    if (name == "slow" && last && i == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2500));  // longer than silence_ms: alive
    status = c.AllReduce(data.data(), 8, ElementType::kFloat32, ReduceOp::kMax);
  }
  if (other.joinable()) other.join();
  return status;
}

struct Joined {
  std::unique_ptr<Collective> host, device, staged;
  Collective& get() { return staged ? *staged : *host; }
};

Result<Joined> Join(const std::string& backend, const std::string& scenario) {
  JoinOptions join;
  if (scenario != "conform")
    join.collective = {.deadline_ms = scenario == "slow" || scenario == "idle" ? 10'000 : 2000, .silence_ms = 1500};
  Joined joined;
  CANDOR_ASSIGN(joined.host, JoinRanks(join));
  if (backend != "nccl") return joined;
  const char* local = std::getenv("OMPI_COMM_WORLD_LOCAL_RANK");
  CANDOR_ASSIGN(joined.device, MakeNcclCollective(*joined.host, local ? std::atoi(local) : joined.host->rank(), join.collective));
  joined.staged = std::make_unique<OnDevice>(*joined.device);
  return joined;
}

int Run(const std::string& backend, const std::string& scenario) {
  const double start = SteadySeconds();
  Result<Joined> joined = Join(backend, scenario);
  if (!joined && joined.error().code == ErrorCode::kUnavailable && backend == "nccl") {
    std::printf("%s: skipped: %s\n", scenario.c_str(), joined.error().Message().c_str());
    return 77;
  }
  Status status = joined ? Status{} : Status(Fail(joined.error()));
  std::string difference;
  const double begun = SteadySeconds();
  if (status && scenario == "conform")
    difference = CheckCollective(joined->get());
  else if (status && scenario == "host_memory")
    status = joined->device->AllReduce(&difference, 1, ElementType::kFloat32, ReduceOp::kSum);
  else if (status)
    status = RunScenario(scenario, joined->get());
  if (!status) difference = std::string(ErrorCodeName(status.error().code)) + " " + status.error().Message();
  const int rank = joined ? joined->host->rank() : -1;
  const double seconds = SteadySeconds() - (joined ? begun : start);
  if (joined)
    std::printf("%s rank %d over %s: %s [%.2f s]\n", scenario.c_str(), rank, joined->get().backend(),
                difference.empty() ? "passed" : difference.c_str(), seconds);
  else
    std::printf("%s: %s [%.2f s]\n", scenario.c_str(), difference.c_str(), seconds);
  std::fflush(stdout);
  if (status) return difference.empty() ? 0 : 1;
  if (joined) joined->host->Abort();
  return static_cast<int>(ExitCodeOf(status.error().code));
}

}  // namespace
}  // namespace candor

int main(int argc, char** argv) {
  if (argc != 3) {
    std::fprintf(stderr, "usage: collective_rank mpi|tcp|nccl SCENARIO\n");
    return 2;
  }
  return candor::Run(argv[1], argv[2]);
}
