// `candor join RUN_DIR`: more rollouts for a run that is under way, on this machine or as one more Slurm array.
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/deploy_files.h"
#include "cli/done_record.h"
#include "cli/placement.h"
#include "cli/slurm_client.h"
#include "cli/workers.h"
#include "core/epoch.h"
#include "core/fs.h"
#include "core/rendezvous.h"

namespace candor::cli {

namespace {

struct JoinArguments {
  std::string run_dir;
  int64_t rollouts = 1;
  bool slurm = false;
};

constexpr char kJoinExamples[] = R"(Examples:
  candor join runs/cities                       one more rollout on this machine, until the run is done or Ctrl-C
  candor join runs/cities --rollouts 4          four of them
  candor join runs/cities --rollouts 8 --slurm  eight more as a Slurm array)";

// Names that no other rollout of the run has, this year or next: behind the recipe's own workers, each taken once.
Result<int64_t> ReserveIndices(const Recipe& recipe, const RunDir& run, int64_t count) {
  CANDOR_TRY(MakeFolders(run.Jobs()));
  int64_t first = -1;
  for (int64_t taken = 0; taken < count;) {
    CANDOR_ASSIGN(const Epoch place, Epoch::Take(run.Jobs(), fmt::format("pid {}\n", ::getpid()), "joined."));
    const int64_t index = recipe.rollout.workers + static_cast<int64_t>(place.number()) - 1;
    const bool follows = first >= 0 && index == first + taken;
    if (!follows) first = index, taken = 0;  // somebody joined between: an array wants neighbours
    ++taken;
  }
  return first;
}

Status RefuseIfOver(const Recipe& recipe, const RunDir& run) {
  if (!IsRunDone(run) && !IsRunFinished(run.path, static_cast<uint64_t>(recipe.trainer.steps))) return {};
  return Fail(ErrorCode::kInvalidInput, "the run is over: no rollout can help it", run.path);
}

Status JoinBySlurm(const JoinArguments& arguments, const Recipe& recipe, const RunDir& run, int64_t first) {
  SlurmSite site{ProgramFolder() + "candor", run.path, std::filesystem::current_path().string(), kJobTemplate};
  if (!recipe.slurm.template_file.empty()) {
    CANDOR_ASSIGN(site.template_text, ReadFile(recipe.slurm.template_file, size_t{1} << 20));
  }
  CANDOR_ASSIGN(const SlurmJob job, PlanMoreRollouts(recipe, site, first, arguments.rollouts));
  CANDOR_TRY(WriteFileAtomic(job.file, job.script));
  CANDOR_ASSIGN(const std::string id, SubmitScript(job.file, ""));
  CANDOR_ASSIGN(std::vector<SubmittedJob> jobs, ReadSubmitted(run));
  jobs.push_back({job.role, id, job.file});
  CANDOR_TRY(WriteSubmitted(run, jobs));
  std::printf("rollouts %ld to %ld: job %s\n", static_cast<long>(first), static_cast<long>(first + arguments.rollouts - 1), id.c_str());
  return {};
}

// A coordinator on the loopback of another machine can be reached by nobody here.
// Says whether this is the machine of the run's own processes.
Result<bool> CheckReachable(const RunDir& run) {
  CANDOR_ASSIGN(const CoordinatorAddress address, FindCoordinator(run.path));
  char self[256] = "";
  ::gethostname(self, sizeof self - 1);
  const bool loopback = address.endpoint.starts_with("tcp://127.");
  if (!loopback) ::setenv("CANDOR_HOST", "auto", 0);
  const bool same = address.node.empty() || address.node == self;
  if (!loopback || same) return same;
  return Fail(ErrorCode::kUnavailable, fmt::format("the coordinator listens on the loopback of {} only; this is {}", address.node, self),
              address.endpoint, "start the run with coordinator.host set to a name that other machines know");
}

Status JoinHere(const JoinArguments& arguments, const Recipe& recipe, const RunDir& run, int64_t first) {
  CANDOR_ASSIGN(const bool same_machine, CheckReachable(run));
  std::vector<ChildSpec> specs;
  for (int64_t i = first; i < first + arguments.rollouts; ++i) {
    specs.push_back(PlaceWorker(recipe, run, "rollout", i, same_machine ? SharedDevices::kYes : SharedDevices::kNo));
    std::fprintf(stderr, "%s joins; log: %s/%s.log\n", specs.back().name.c_str(), run.Logs().c_str(), specs.back().name.c_str());
  }
  return SuperviseWorkers(std::move(specs), run, {"rollouts", {}, 20'000, {}});
}

Status Join(const JoinArguments& arguments) {
  const RunDir run{std::filesystem::absolute(arguments.run_dir).lexically_normal().string()};
  CANDOR_ASSIGN(const Recipe recipe, LoadResolvedRecipe(run.path));
  CANDOR_TRY(RefuseIfOver(recipe, run));
  CANDOR_ASSIGN(const int64_t first, ReserveIndices(recipe, run, arguments.rollouts));
  return arguments.slurm ? JoinBySlurm(arguments, recipe, run, first) : JoinHere(arguments, recipe, run, first);
}

}  // namespace

int RunJoin(int argc, const char* const* argv) {
  JoinArguments arguments;
  CommandLine app{
      "Adds rollouts to a run that is under way. They lease prompts beside the others at once; when they leave or die, others write their "
      "groups.",
      "candor join"};
  app.Add("RUN_DIR", &arguments.run_dir, "the run's folder, as this machine sees it").Required();
  app.Add("--rollouts", &arguments.rollouts, "how many (default 1)").Range(1, 4096);
  app.AddFlag("--slurm", &arguments.slurm, "submit them as one more array, with the recipe's [slurm] settings");
  app.AddFooter(kJoinExamples);
  if (const auto code = app.Parse(argc, argv)) return *code;
  const Status joined = Join(arguments);
  if (!joined && joined.error().code == ErrorCode::kCancelled) return static_cast<int>(ExitCode::kInterrupted);
  return ExitWith("join", joined);
}

}  // namespace candor::cli
