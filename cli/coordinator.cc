// candor coordinator: leases, plans, ledger and calibration record of a run. Started by `candor run`, or by hand or Slurm where it can be
// reached by all other roles.
#include <malloc.h>
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/recipe.h"
#include "cli/role.h"
#include "cli/state_dir.h"
#include "coordinator/server.h"
#include "core/launch.h"

namespace candor::cli {

namespace {

RunPlan PlanOf(const Recipe& recipe, const std::map<std::string, DataSet>& data) {
  RunPlan plan;
  plan.run_id = recipe.run.name;
  plan.steps = static_cast<uint64_t>(recipe.trainer.steps);
  plan.prompts_per_step = static_cast<uint32_t>(recipe.trainer.prompts_per_step);
  plan.group_size = static_cast<uint32_t>(recipe.trainer.group_size);
  plan.greedy_traces = static_cast<uint32_t>(recipe.rollout.greedy_traces);
  plan.staleness = static_cast<uint64_t>(recipe.coordinator.staleness);
  plan.deterministic = recipe.run.deterministic;
  plan.seed = static_cast<uint64_t>(recipe.run.seed);
  const CurriculumOptions& c = recipe.curriculum;
  plan.curriculum = {c.skip == "greso", c.retire_at, c.retired_share, static_cast<uint32_t>(c.fill_batches)};
  const RewardOptions& w = recipe.reward;
  if (w.filter == "moving_std")
    plan.moving_filter = {true, w.filter_beta, w.filter_ema, static_cast<uint64_t>(w.filter_average_from),
                          static_cast<uint64_t>(w.filter_from)};
  if (data.count("train")) plan.datasets.push_back({"train", static_cast<uint32_t>(data.at("train").rows.size()), 1.0});
  for (const EvalSetOptions& eval : recipe.evals)
    if (eval.every > 0)
      plan.evals.push_back({eval.name, static_cast<uint32_t>(data.at(eval.name).rows.size()), static_cast<uint64_t>(eval.every)});
  return plan;
}

// It lives as long as the run. The store's write buffers and its flushes are blocks of 128 KB and more that come and go between small ones
// that stay: mapped on their own they go back to the system, and threads that share two arenas leave less behind.
void ReturnFreedMemory() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 128 << 10);  // named, it does not grow with the first block that is freed
  mallopt(M_ARENA_MAX, 2);
#endif
}

Status Serve(const RoleArguments& arguments) {
  ReturnFreedMemory();
  CANDOR_TRY(StartRoleLog(arguments, "coordinator"));
  CANDOR_ASSIGN(Recipe recipe, LoadResolvedRecipe(arguments.run_dir));
  if (!recipe.coordinator.host.empty()) ::setenv("CANDOR_HOST", recipe.coordinator.host.c_str(), 1);
  recipe.coordinator.listen = ListenAddress(recipe.coordinator.listen);
  CANDOR_ASSIGN(const auto data, LoadRunData(recipe));
  return ServeCoordinator(PlanOf(recipe, data), recipe.coordinator, arguments.run_dir,
                          {.stop = arguments.stop, .state_dir = StateDirOf(recipe, {arguments.run_dir})});
}

}  // namespace

int RunCoordinatorRole(int argc, const char* const* argv) {
  return RunRole("coordinator", "Role: leases prompts, plans steps, keeps the ledger and the calibration record of a run.", false, argc,
                 argv, Serve);
}

}  // namespace candor::cli
