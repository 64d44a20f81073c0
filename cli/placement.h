// Which processes a machine, a job or an allocation starts for the stage "rl", as the supervisor needs them: commands, environments, how
// they are stopped, and what proves that they succeeded.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "cli/supervisor.h"
#include "core/result.h"

namespace candor::cli {

// The Slurm allocation that this process stands in.
struct Allocation {
  std::vector<std::string> nodes;
  int64_t cpus_per_node = 1, gpus_per_node = 0;
  bool inside = true;  // this process runs on one of them; false: in a shell of salloc on a login node
};
// nullopt outside of one. Asks scontrol for the names of the nodes.
Result<std::optional<Allocation>> FindAllocation();

enum class Spread {
  kThisMachine,  // every role is a child of this process
  kLearners,     // the learners here, by srun; the other roles are jobs of their own
  kAllocation,   // every role, spread over the nodes of an allocation by srun --overlap
};

// Which node (index into Allocation::nodes) each worker goes to.
struct NodesOfRoles {
  std::vector<size_t> trainer;   // the nodes that the ranks share
  std::vector<size_t> rollouts;  // one entry a worker
  std::vector<size_t> rewards;
};
NodesOfRoles SpreadOverNodes(const Recipe& recipe, const Allocation& allocation);

// In the order in which they are started. `allocation` is needed for kAllocation only.
std::vector<ChildSpec> PlaceRoles(const Recipe& recipe, const RunDir& run, Spread spread, const Allocation& allocation = {});
// Does a worker share the devices that it sees with the learners, as [placement] says, or are they all its own (a job of its own, a machine
// of its own)?
enum class SharedDevices { kYes, kNo };
// One worker on this machine: "rollout" or "reward".
ChildSpec PlaceWorker(const Recipe& recipe, const RunDir& run, const std::string& role, int64_t index, SharedDevices shared);
ChildSpec PlaceCoordinator(const Recipe& recipe, const RunDir& run);
// What a stage before RL or an evaluation begins with, its arguments behind it: candor-torch here or in the container, which sees `folder`;
// in a shell of salloc on a login node, on the first node of the allocation.
Result<std::vector<std::string>> StageProgram(const Recipe& recipe, const std::string& folder);

}  // namespace candor::cli
