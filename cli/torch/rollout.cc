// candor rollout: one rollout worker of a run. Started by `candor run`, or by hand (a Slurm array) on any machine that sees the run's
// folder.
#include "cli/recipe_check.h"
#include "cli/role.h"
#include "cli/torch/commands.h"
#include "core/transport.h"
#include "core/turn.h"
#include "reward/scorer.h"
#include "rollout/worker.h"

namespace candor::cli {

namespace {

Status Serve(const RoleArguments& arguments) {
  CANDOR_TRY(StartRoleLog(arguments, "rollout-" + std::to_string(arguments.index)));
  CANDOR_ASSIGN(const Recipe recipe, LoadResolvedRecipe(arguments.run_dir));
  CANDOR_ASSIGN(const auto data, LoadRunData(recipe));
  CANDOR_ASSIGN(const RunKeys keys, ReadRunKeys(arguments.run_dir));
  CANDOR_ASSIGN(const auto transport, MakeZmqTransport(keys));
  RolloutSetup setup;
  setup.run_dir = arguments.run_dir;
  setup.run_id = recipe.run.name;
  setup.steps = static_cast<uint64_t>(recipe.trainer.steps);
  setup.index = arguments.index;
  setup.seed = static_cast<uint64_t>(recipe.run.seed);
  setup.tokenizer_folder = recipe.run.model;
  setup.format = recipe.format;
  CANDOR_ASSIGN(const std::vector<std::string> channels, ChannelsRead(recipe));
  CANDOR_ASSIGN(const TagFormat tags, TagFormat::From(recipe.format.tags, recipe.format.confidence));
  CANDOR_ASSIGN(const ScoreRules rules, ScoreRules::From(tags, recipe.reward, channels));
  setup.score_reference = rules.NeedsReference();
  for (const auto& [name, set] : data) setup.data[name] = &set;
  setup.weights.relay = recipe.trainer.transfer == "relay";
  setup.weights.encrypt = recipe.trainer.encrypt, setup.weights.bind = recipe.trainer.relay_bind;
  setup.transport = transport.get();
  setup.stop = arguments.stop;
  std::optional<Turn> turn;
  if (recipe.placement.colocate) {
    CANDOR_ASSIGN(turn, Turn::Open(arguments.run_dir));
    setup.turn = &*turn;
  }
  return ServeRollout(recipe.rollout, setup);
}

}  // namespace

int RunRolloutRole(int argc, const char* const* argv) {
  return RunRole("rollout", "Role: writes traces for the prompts that the coordinator leases to it.", true, argc, argv, Serve);
}

}  // namespace candor::cli
