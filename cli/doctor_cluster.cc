// What `candor doctor` asks about GPUs, launchers and a live run.
#include <dlfcn.h>
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>

#include "cli/checkup.h"
#include "cli/live_status.h"
#include "cli/recipe.h"
#include "cli/supervisor.h"
#include "core/clock.h"
#include "core/collective_versions.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

constexpr int kAnswerMs = 3000;
constexpr double kPeerClockSkewS = 2;

// A function of a library that is opened for the question only.
template <typename Function>
Function Symbol(const char* library, const char* name) {
  void* handle = dlopen(library, RTLD_LAZY | RTLD_LOCAL);
  return handle ? reinterpret_cast<Function>(dlsym(handle, name)) : nullptr;
}

}  // namespace

void CheckDriver(Checkup& checkup) {
  const auto get_version = Symbol<int (*)(int*)>("libcuda.so.1", "cuDriverGetVersion");
  int version = 0;
  if (!get_version || get_version(&version) != 0)
    return checkup.Add(Verdict::kOptional, "CUDA driver", "libcuda.so.1 cannot be opened; there is no GPU driver, the CPU path is used");
  const bool enough = version >= 13000;
  checkup.Add(enough ? Verdict::kGood : Verdict::kOptional, "CUDA driver",
              fmt::format("supports CUDA {}.{}{}", version / 1000, version % 1000 / 10,
                          enough ? "" : "; LibTorch needs 13: the CPU path is used, ask the site for a newer driver"));
}

void CheckNccl(Checkup& checkup) {
  const auto get_version = Symbol<int (*)(int*)>("libnccl.so.2", "ncclGetVersion");
  int version = 0;
  if (!get_version || get_version(&version) != 0)
    return checkup.Add(Verdict::kOptional, "NCCL 2", "libnccl.so.2 cannot be opened; needed for learners on GPUs: tools/setup.sh");
  checkup.Add(Verdict::kGood, "NCCL 2",
              fmt::format("{}.{}.{}, built for {}", version / 10000, version / 100 % 100, version % 100, NcclVersion()));
}

void CheckPmix(Checkup& checkup) {
  void* const pmix = dlopen("libpmix.so.2", RTLD_LAZY | RTLD_LOCAL);
  checkup.Add(pmix ? Verdict::kGood : Verdict::kOptional, "PMIx",
              pmix ? "libpmix.so.2" : "libpmix.so.2 cannot be opened; needed for learners under srun --mpi=pmix");
  if (pmix) dlclose(pmix);
  const std::string answer = fmt::format("/tmp/.candor-doctor-srun-{}", ::getpid());
  const auto code = RunToEnd({"sh", "-c", "command -v srun >/dev/null && timeout 10 srun --mpi=list 2>&1"}, {}, answer);
  const auto text = ReadFile(answer, size_t{1} << 16);
  ::unlink(answer.c_str());
  if (!code || *code != 0 || !text)
    return checkup.Add(Verdict::kOptional, "Slurm", "srun is not here or does not answer; candor run needs none");
  const bool listed = text->find("pmix") != std::string::npos;
  checkup.Add(listed ? Verdict::kGood : Verdict::kBad, "srun --mpi=pmix",
              listed ? "offered" : "is not offered by this Slurm: use layout = \"one_job\" with mpirun");
}

void CheckCoordinator(Checkup& checkup, const std::string& run_dir) {
  const auto recipe = LoadResolvedRecipe(run_dir);
  if (!recipe) return checkup.Add(Verdict::kBad, "the run", recipe.error().Message());
  const double before = SteadySeconds();
  const auto status = AskStatus(run_dir, recipe->run.name, kAnswerMs);
  if (!status) return checkup.Add(Verdict::kOptional, "the run's coordinator", status.error().Message());
  const double took = SteadySeconds() - before;
  checkup.Add(Verdict::kGood, "the run's coordinator", fmt::format("answers in {:.0f} ms", took * 1000));
  if (!status->contains("wall_s")) return;
  const double skew = (*status)["wall_s"].get<double>() + took / 2 - static_cast<double>(SystemClock().WallMs()) / 1000;
  checkup.Add(std::fabs(skew) <= kPeerClockSkewS ? Verdict::kGood : Verdict::kOptional, "its clock and ours",
              fmt::format("{:+.2f} s apart{}", skew,
                          std::fabs(skew) <= kPeerClockSkewS ? "" : ": logs will not line up; leases are not concerned (steady clock)"));
}

}  // namespace candor::cli
