#include "cli/role.h"

#include <signal.h>
#include <unistd.h>

#include <cstdio>

#include "cli/command_line.h"
#include "core/log.h"

namespace candor::cli {

namespace {
std::atomic<bool> g_stop = false;
static_assert(std::atomic<bool>::is_always_lock_free, "set in a signal handler");
void OnStop(int) { g_stop = true; }
}  // namespace

int RunRole(const std::string& role, const std::string& about, bool indexed, int argc, const char* const* argv, const RoleBody& body) {
  RoleArguments arguments;
  arguments.stop = &g_stop;
  CommandLine app{about, "candor " + role};
  app.Add("--run-dir", &arguments.run_dir, "the run's folder").Required();
  if (indexed) app.Add("--index", &arguments.index, "which worker of this role, from 0").Range(0, 1 << 20);
  if (const auto code = app.Parse(argc, argv)) return *code;
  struct sigaction action {};
  action.sa_handler = OnStop;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGUSR1, &action, nullptr);  // what srun and mpirun pass on to their ranks, and what Slurm sends before a job's end
  ::sigaction(SIGINT, &action, nullptr);
  Status served = body(arguments);
  if (served) return 0;
  if (served.error().code == ErrorCode::kCancelled) return static_cast<int>(ExitCode::kInterrupted);
  LogError(served.error(), role);
  return ReportFailure(role, served.error());
}

Status StartRoleLog(const RoleArguments& arguments, const std::string& worker) {
  CANDOR_TRY(LoadResolvedRecipe(arguments.run_dir));  // a mistyped folder is not made by its first log line
  return StartLog(worker, arguments.run_dir + "/logs/" + worker + ".log", ::isatty(STDERR_FILENO) != 0);
}

Result<std::map<std::string, DataSet>> LoadRunData(const Recipe& recipe) {
  std::map<std::string, DataSet> sets;
  const RowNeeds needs{.answer = true, .completion = false};
  if (!recipe.data.train.empty()) {
    CANDOR_ASSIGN(sets["train"], ReadDataSets(recipe.data.train, recipe.data.fields, needs));
  }
  for (const EvalSetOptions& eval : recipe.evals) {
    CANDOR_ASSIGN(sets[eval.name], ReadDataSet(eval.path, recipe.data.fields, needs, eval.n));
  }
  return sets;
}

}  // namespace candor::cli
