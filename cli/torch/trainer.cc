// candor trainer: the learner's ranks. Started by `candor run` (under mpirun when there are several), or by hand or Slurm on machines that
// see the run's folder.
#include <unistd.h>

#include "cli/done_record.h"
#include "cli/recipe.h"
#include "cli/role.h"
#include "cli/state_dir.h"
#include "cli/torch/commands.h"
#include "core/collective_join.h"
#include "core/epoch.h"
#include "core/fs.h"
#include "core/log.h"
#include "core/transport.h"
#include "core/turn.h"
#include "trainer/learner.h"

namespace candor::cli {

namespace {

// One rank under a launcher or at a rendezvous, else alone.
Result<std::unique_ptr<Collective>> JoinRun(int64_t ranks, const RunKeys& keys) {
  if (ranks > 1 && !HasLauncher())
    return Fail(ErrorCode::kInvalidInput, "the recipe asks for " + std::to_string(ranks) + " trainer ranks, but no launcher started them",
                "trainer.ranks", "mpirun -n " + std::to_string(ranks) + " candor-torch trainer --run-dir DIR; or CANDOR_RENDEZVOUS");
  JoinOptions join;
  join.secret = keys.by_role[static_cast<size_t>(Role::kTrainer)].secret_key;
  return JoinRanks(join);
}

Status Serve(const RoleArguments& arguments) {
  const std::string& run_dir = arguments.run_dir;
  CANDOR_ASSIGN(Recipe recipe, LoadResolvedRecipe(run_dir));
  CANDOR_ASSIGN(const RunKeys keys, ReadRunKeys(run_dir));
  CANDOR_ASSIGN(std::unique_ptr<Collective> collective, JoinRun(recipe.trainer.ranks, keys));
  const std::string worker = "trainer-" + std::to_string(collective->rank());
  CANDOR_TRY(StartRoleLog(arguments, worker));
  CANDOR_ASSIGN(const auto transport, MakeZmqTransport(keys));
  TrainerSetup setup;
  setup.run_dir = run_dir;
  setup.run_id = recipe.run.name;
  setup.model_folder = recipe.run.model;
  setup.recipe_toml = ResolvedText(recipe);
  setup.device = recipe.run.device;
  setup.dtype = recipe.run.dtype;
  setup.deterministic = recipe.run.deterministic;
  setup.seed = static_cast<uint64_t>(recipe.run.seed);
  setup.format = recipe.format;
  setup.options = recipe.trainer;
  setup.objectives = recipe.objectives;
  setup.transport = transport.get();
  setup.stop = arguments.stop;
  std::optional<Turn> turn;
  if (recipe.placement.colocate) {
    CANDOR_ASSIGN(turn, Turn::Open(run_dir));
    setup.turn = &*turn;
  }
  std::optional<Epoch> fence;
  if (collective->rank() == 0) {
    const std::string checkpoints = StateDirOf(recipe, {run_dir}) + "/checkpoints";
    CANDOR_TRY(MakeFolders(checkpoints));
    CANDOR_ASSIGN(fence, Epoch::Take(checkpoints, "pid " + std::to_string(::getpid()) + "\n"));
    setup.fence = &*fence;
    spdlog::info("trainer epoch={}", fence->number());
  }
  Status served = ServeTrainer(setup, *collective);
  if (served && collective->rank() == 0) CANDOR_TRY(RecordTrainerDone({run_dir}, recipe.trainer.steps));
  if (!served && served.error().code != ErrorCode::kCancelled) collective->Abort();  // the other ranks need not wait for the deadline
  return served;
}

}  // namespace

int RunTrainerRole(int argc, const char* const* argv) {
  return RunRole("trainer", "Role: learns from the scored groups of a run and publishes the weights; one process per rank.", false, argc,
                 argv, Serve);
}

}  // namespace candor::cli
