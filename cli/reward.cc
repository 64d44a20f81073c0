// candor reward: one reward worker of a run. Started by `candor run`, or by hand (a Slurm array) on any machine that sees the run's folder.
#include "cli/commands.h"
#include "cli/recipe.h"
#include "cli/recipe_check.h"
#include "cli/role.h"
#include "core/launch.h"
#include "core/transport.h"
#include "reward/worker.h"

namespace candor::cli {
namespace {

Status Serve(const RoleArguments& arguments) {
  CANDOR_TRY(StartRoleLog(arguments, "reward-" + std::to_string(arguments.index)));
  CANDOR_ASSIGN(Recipe recipe, LoadResolvedRecipe(arguments.run_dir));
  recipe.reward.bind = ListenAddress(recipe.reward.bind);
  CANDOR_ASSIGN(const auto data, LoadRunData(recipe));
  CANDOR_ASSIGN(const RunKeys keys, ReadRunKeys(arguments.run_dir));
  CANDOR_ASSIGN(const auto transport, MakeZmqTransport(keys));
  RewardSetup setup;
  setup.run_dir = arguments.run_dir;
  setup.run_id = recipe.run.name;
  setup.steps = static_cast<uint64_t>(recipe.trainer.steps);
  setup.index = arguments.index;
  CANDOR_ASSIGN(setup.format, TagFormat::From(recipe.format.tags, recipe.format.confidence));
  CANDOR_ASSIGN(setup.channels, ChannelsRead(recipe));
  setup.values = ValuesLearned(recipe);
  for (const auto& [name, set] : data) setup.data[name] = &set;
  setup.transport = transport.get();
  setup.stop = arguments.stop;
  CANDOR_TRY(ServeReward(recipe.reward, setup));
  if (*arguments.stop) return Fail(ErrorCode::kCancelled, "stopped by a signal");
  return {};
}

}  // namespace

int RunRewardRole(int argc, const char* const* argv) {
  return RunRole("reward", "Role: verifies and scores the traces of a run and keeps them until a checkpoint covers them.", true, argc, argv,
                 Serve);
}

}  // namespace candor::cli
