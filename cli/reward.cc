// candor reward: one reward worker of a run. Started by `candor run`, or by hand (a Slurm array) on any machine that sees the run's folder.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>

#include "cli/commands.h"
#include "cli/recipe.h"
#include "core/log.h"
#include "core/transport.h"
#include "reward/worker.h"

namespace candor::cli {
namespace {

std::atomic<bool> g_stop = false;
static_assert(std::atomic<bool>::is_always_lock_free, "set in a signal handler");
void OnStop(int) { g_stop = true; }

struct Arguments {
  std::string run_dir;
  int index = 0;
};

// The data sets by the names that prompts carry: "train" and every [[eval]]. The same files, in the same order, as every other role reads.
Result<std::map<std::string, DataSet>> LoadData(const Recipe& recipe) {
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

Status Serve(const Arguments& arguments) {
  const std::string worker = "reward-" + std::to_string(arguments.index);
  CANDOR_TRY(StartLog(worker, arguments.run_dir + "/logs/" + worker + ".log", ::isatty(2) != 0));
  CANDOR_ASSIGN(const Recipe recipe, LoadResolvedRecipe(arguments.run_dir));
  CANDOR_ASSIGN(const auto data, LoadData(recipe));
  CANDOR_ASSIGN(const RunKeys keys, ReadRunKeys(arguments.run_dir));
  CANDOR_ASSIGN(const auto transport, MakeZmqTransport(keys));
  RewardSetup setup;
  setup.run_dir = arguments.run_dir;
  setup.run_id = recipe.run.name;
  setup.index = arguments.index;
  CANDOR_ASSIGN(setup.format, TagFormat::From(recipe.format.tags, recipe.format.confidence));
  for (const auto& [name, set] : data) setup.data[name] = &set;
  setup.transport = transport.get();
  setup.stop = &g_stop;
  return ServeReward(recipe.reward, setup);
}

}  // namespace

int RunRewardRole(int argc, const char* const* argv) {
  Arguments arguments;
  CLI::App app{"Role: verifies and scores the traces of a run and keeps them until a checkpoint covers them.", "candor reward"};
  app.add_option("--run-dir", arguments.run_dir, "the run's folder")->required();
  app.add_option("--index", arguments.index, "which reward worker this is, from 0")->check(CLI::NonNegativeNumber);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  }
  struct sigaction action {};
  action.sa_handler = OnStop;
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  if (Status served = Serve(arguments); !served) {
    LogError(served.error(), "reward worker");
    std::fprintf(stderr, "candor reward: %s\n", served.error().Message().c_str());
    return static_cast<int>(ExitCodeOf(served.error().code));
  }
  return g_stop ? static_cast<int>(ExitCode::kInterrupted) : 0;
}

}  // namespace candor::cli
