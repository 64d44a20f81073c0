// `candor job ROLE`: what a Slurm job of a run does on its node. Job scripts call it (deploy/slurm/job.sbatch), people call `candor
// submit`.
#include <fmt/format.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <memory>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/done_record.h"
#include "cli/run_recipe.h"
#include "cli/slurm_client.h"
#include "cli/workers.h"
#include "core/clock.h"
#include "core/epoch.h"
#include "core/fs.h"
#include "core/log.h"
#include "core/rendezvous.h"

namespace candor::cli {

namespace {

constexpr int64_t kLearnersLookMs = 15'000;
constexpr int kCallBacks = 3;
constexpr int64_t kCallBackEveryMs = 60'000;

struct JobArguments {
  std::string role, run_dir;
  int64_t index = -1;
};

// A job may be run twice at once (a controller that lost its memory): the later one goes on, the earlier one notices within a second.
Result<std::shared_ptr<Epoch>> TakeJobFence(const RunDir& run, const std::string& name) {
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  const char* id = std::getenv("SLURM_JOB_ID");
  CANDOR_TRY(MakeFolders(run.Jobs()));
  CANDOR_ASSIGN(Epoch epoch, Epoch::Take(run.Jobs(), fmt::format("job {} on {}, pid {}\n", id ? id : "-", host, ::getpid()), name + "."));
  return std::make_shared<Epoch>(std::move(epoch));
}

// Asked ten times a second, looks once a second.
std::function<Status()> StillOurs(std::shared_ptr<Epoch> fence) {
  auto next_ms = std::make_shared<int64_t>(0);
  return [fence, next_ms, clock = SystemClock()]() -> Status {
    if (clock.SteadyMs() < *next_ms) return {};
    *next_ms = clock.SteadyMs() + 1000;
    return fence->CheckStillOurs();
  };
}

// Nobody needs workers whose learners' job is gone (cancelled, failed), nor rollouts whose learners queue: learners that start call them
// back. True once that has lasted for idle_exit_min; asked often, looks seldom.
std::function<bool()> LearnersAway(const RunDir& run, const std::string& role, double idle_exit_min) {
  struct Memory {
    int64_t next_ms = 0, away_since_ms = -1;
  };
  const auto limit_ms = static_cast<int64_t>(idle_exit_min * 60'000);
  return [run, role, limit_ms, memory = std::make_shared<Memory>(), clock = SystemClock()] {
    const int64_t now = clock.SteadyMs();
    if (limit_ms == 0 || now < memory->next_ms) return false;
    memory->next_ms = now + std::min(kLearnersLookMs, limit_ms / 4);
    const auto jobs = ReadSubmitted(run);
    if (!jobs) return false;
    const auto learners = std::find_if(jobs->begin(), jobs->end(), [](const SubmittedJob& job) { return job.role == "learners"; });
    if (learners == jobs->end()) return false;  // one job for all, or the submission is under way
    const Result<Presence> presence = FindJob(learners->id);
    if (!presence) return false;  // a controller that is away says nothing about jobs
    const bool away = *presence == Presence::kGone || (*presence == Presence::kQueues && role == "rollouts");
    if (!away) memory->away_since_ms = -1;
    if (away && memory->away_since_ms < 0) memory->away_since_ms = now;
    if (!away || now - memory->away_since_ms < limit_ms) return false;
    std::fprintf(stderr, "the learners' job %s has been %s for %ld s: the %s leave\n", learners->id.c_str(),
                 *presence == Presence::kGone ? "gone" : "queueing", static_cast<long>(limit_ms / 1000), role.c_str());
    return true;
  };
}

// Those who left are called back when the learners start, and again a little later: one of them may have been about to leave just then.
std::function<Status()> CallBackAtFirst(const RunDir& run, std::function<Status()> still_ours) {
  struct Memory {
    int64_t next_ms = 0;
    int calls = 0;
  };
  return [run, still_ours = std::move(still_ours), memory = std::make_shared<Memory>(), clock = SystemClock()]() -> Status {
    CANDOR_TRY(still_ours());
    if (memory->calls == kCallBacks || clock.SteadyMs() < memory->next_ms) return {};
    memory->next_ms = clock.SteadyMs() + kCallBackEveryMs, ++memory->calls;
    if (Status called = CallBack(run); !called) LogError(called.error(), "looking for the other jobs of the run");
    return {};
  };
}

int GraceMs(const Recipe& recipe) { return static_cast<int>(std::max<int64_t>(5, recipe.slurm.warn_s - 10) * 1000); }

// A fenced job leaves without a fuss, so that its script does not put it back into the queue.
int ExitOfJob(const Status& status, const Epoch& fence) {
  if (!status && !fence.CheckStillOurs()) {
    std::fprintf(stderr, "candor job: %s\n", fence.CheckStillOurs().error().Message().c_str());
    return 0;
  }
  if (!status && status.error().code == ErrorCode::kCancelled) return static_cast<int>(ExitCode::kInterrupted);
  return ExitWith("job", status);
}

int RunLearnersJob(const JobArguments& arguments, Recipe& recipe, const RunDir& run) {
  auto fence = TakeJobFence(run, arguments.role);
  if (!fence) return ReportFailure("job", fence.error());
  ForgetFailure(run);
  RunMode mode;
  mode.resume = true;
  mode.rl.still_ours = StillOurs(*fence);
  mode.rl.stop_grace_ms = GraceMs(recipe);
  Status status;
  if (arguments.role == "learners") {
    mode.rl.spread = Spread::kLearners;
    if (Status called = CallBack(run); !called) LogError(called.error(), "looking for the other jobs of the run");
    mode.rl.still_ours = CallBackAtFirst(run, mode.rl.still_ours);  // the stages before may have taken hours
  } else {
    status = SpreadOverAllocation(recipe, mode.rl);
  }
  if (status) status = RunRecipe(recipe, run, mode);
  const bool for_good = !status && status.error().code != ErrorCode::kCancelled && status.error().code != ErrorCode::kCollective;
  if (for_good && (*fence)->CheckStillOurs()) (void)RecordFailure(run, status.error());
  return ExitOfJob(status, **fence);
}

Status ServeWorkerJob(const JobArguments& arguments, const Recipe& asked, const RunDir& run, std::shared_ptr<Epoch> fence) {
  const std::function<bool()> away = LearnersAway(run, arguments.role, asked.slurm.idle_exit_min);
  CANDOR_ASSIGN(const bool begun, WaitForRun(run, away));
  if (!begun) return {};
  CANDOR_ASSIGN(const Recipe recipe, LoadResolvedRecipe(run.path));
  ChildSpec spec = arguments.role == "coordinator"
                       ? PlaceCoordinator(recipe, run)
                       : PlaceWorker(recipe, run, arguments.role == "rollouts" ? "rollout" : "reward", arguments.index, SharedDevices::kNo);
  WorkersRun how{arguments.role, StillOurs(std::move(fence)), GraceMs(recipe), away};
  return SuperviseWorkers({std::move(spec)}, run, how);
}

int PrintVerdict(const RunDir& run) {
  const Status done = CheckRunDone(run);
  std::printf("%s\n", done ? "done" : ("unfinished: " + done.error().Message()).c_str());
  return 0;
}

}  // namespace

int RunJob(int argc, const char* const* argv) {
  JobArguments arguments;
  CommandLine app{
      "What a Slurm job of a run does on its node: starts its role, starts it again when it dies, and ends with the run. Job scripts call "
      "it; `candor submit` writes those. `candor job verdict` prints \"done\" when the run's signed record says so.",
      "candor job"};
  app.Add("ROLE", &arguments.role, "learners, coordinator, rollouts, rewards, all (one job for everything), or verdict")
      .Required()
      .OneOf({"learners", "coordinator", "rollouts", "rewards", "all", "verdict"});
  app.Add("--run-dir", &arguments.run_dir, "the run's folder").Required();
  app.Add("--index", &arguments.index, "which worker, from 0").Range(0, 1 << 20);
  app.AddFooter("Example:\n  candor job verdict --run-dir runs/tiny");
  if (const auto code = app.Parse(argc, argv)) return *code;
  const RunDir run{arguments.run_dir};
  if (arguments.role == "verdict") return PrintVerdict(run);
  if (!FileExists(run.Recipe()))
    return ReportFailure("job",
                         Error{ErrorCode::kNotFound, "this is not a run: it has no recipe.toml", run.path, "use candor submit", false});
  Result<Recipe> recipe = LoadSettings({run.Recipe()}, {});
  if (!recipe) return ReportFailure("job", recipe.error());
  if (arguments.role == "learners" || arguments.role == "all") return RunLearnersJob(arguments, *recipe, run);
  if (arguments.role != "coordinator") arguments.index = std::max<int64_t>(arguments.index, 0);
  auto fence = TakeJobFence(run, arguments.index < 0 ? arguments.role : fmt::format("{}-{}", arguments.role, arguments.index));
  if (!fence) return ReportFailure("job", fence.error());
  return ExitOfJob(ServeWorkerJob(arguments, *recipe, run, *fence), **fence);
}

}  // namespace candor::cli
