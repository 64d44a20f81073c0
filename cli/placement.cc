#include "cli/placement.h"

#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <sstream>

#include "cli/done_record.h"
#include "cli/openmp_wait.h"
#include "cli/slurm_client.h"
#include "cli/slurm_plan.h"
#include "core/rendezvous.h"

namespace candor::cli {

namespace {

int64_t NumberFrom(const char* variable, int64_t otherwise) {
  const char* text = std::getenv(variable);
  int64_t number = otherwise;
  if (text) std::from_chars(text, text + std::strlen(text), number);
  return number;
}

std::map<std::string, std::string> Threads(int64_t threads) {
  return {{"OMP_NUM_THREADS", std::to_string(threads)}, {"MKL_NUM_THREADS", std::to_string(threads)}, {"OMP_WAIT_POLICY", "passive"}};
}

// Beside this program, or by name inside the container, which sees `folder`.
std::vector<std::string> Program(const Recipe& recipe, const std::string& folder, const std::string& program) {
  if (recipe.slurm.container.empty()) return {ProgramFolder() + program};
  std::vector<std::string> command = {"apptainer", "exec", "--bind", folder};
  if (recipe.run.device != "cpu") command.push_back("--nv");
  command.insert(command.end(), {recipe.slurm.container, program});
  return command;
}

ChildSpec Role(const Recipe& recipe, const RunDir& run, const std::string& program, const std::string& role, int64_t index,
               int64_t threads) {
  ChildSpec spec;
  spec.name = index < 0 ? role : fmt::format("{}-{}", role, index);
  spec.command = Program(recipe, run.path, program);
  spec.command.insert(spec.command.end(), {role, "--run-dir", run.path});
  if (index >= 0) spec.command.insert(spec.command.end(), {"--index", std::to_string(index)});
  spec.environment = Threads(threads);
  return spec;
}

// Devices `first` .. `first + count - 1` of those that this process may see.
std::string Devices(int64_t first, int64_t count) {
  std::vector<std::string> visible;
  if (const char* list = std::getenv("CUDA_VISIBLE_DEVICES")) {
    std::istringstream text(list);
    for (std::string one; std::getline(text, one, ',');) visible.push_back(one);
  }
  std::string devices;
  for (int64_t i = first; i < first + count; ++i) {
    const size_t at = static_cast<size_t>(i);
    devices += (devices.empty() ? "" : ",") + (at < visible.size() ? visible[at] : visible.empty() ? std::to_string(i) : std::string());
  }
  return devices;
}

// The devices that [placement] gives a role of this machine: learners first, then one for each rollout; all of them where it says nothing
// or lets both take turns.
void PlaceOnDevices(const Recipe& recipe, ChildSpec& spec, const std::string& role, int64_t place, int64_t trainer_gpus) {
  const PlacementOptions& o = recipe.placement;
  if (o.colocate || (o.trainer_gpus == 0 && o.rollout_gpus == 0)) return;
  if (role == "trainer" && trainer_gpus > 0) spec.environment["CUDA_VISIBLE_DEVICES"] = Devices(0, trainer_gpus);
  if (role == "rollout" && o.rollout_gpus > 0) spec.environment["CUDA_VISIBLE_DEVICES"] = Devices(trainer_gpus + place % o.rollout_gpus, 1);
}

ChildSpec Trainer(const Recipe& recipe, const RunDir& run, const std::vector<std::string>& launcher) {
  ChildSpec spec = Role(recipe, run, "candor-torch", "trainer", -1, recipe.trainer.threads);
  if (!launcher.empty()) {
    spec.command.insert(spec.command.begin(), launcher.begin(), launcher.end());
    if (launcher[0] == "srun") spec.before_restart = [](std::vector<std::string>&) { CancelSteps("trainer"); };
    spec.stop_signal = SIGUSR1, spec.stop_group = false;  // TERM makes srun and mpirun kill the ranks before they have written a thing
  }
  spec.proof = [run, steps = recipe.trainer.steps] { return IsTrainerDone(run, steps); };
  return spec;
}

// `srun` on one node of the allocation; what the step is given in addition is in `environment` (srun overwrites the devices' variable).
void OnNode(ChildSpec& spec, const Allocation& allocation, size_t node, int64_t cpus) {
  std::vector<std::string> command = {"srun",
                                      "--job-name=" + spec.name,
                                      "--overlap",
                                      "--mpi=none",
                                      "--kill-on-bad-exit=1",
                                      "--nodes=1",
                                      "--ntasks=1",
                                      "--nodelist=" + allocation.nodes[node],
                                      "--cpus-per-task",
                                      std::to_string(cpus)};
  if (auto devices = spec.environment.find("CUDA_VISIBLE_DEVICES"); devices != spec.environment.end())
    command.insert(command.end(), {"env", "CUDA_VISIBLE_DEVICES=" + devices->second});
  command.insert(command.end(), spec.command.begin(), spec.command.end());
  spec.command = std::move(command);
  spec.before_restart = [name = spec.name, nodes = allocation.nodes](std::vector<std::string>& srun) {
    CancelSteps(name);
    MoveFromDeadNodes(srun, nodes);
  };
  spec.stop_signal = SIGUSR1, spec.stop_group = false;
}

std::vector<ChildSpec> OnThisMachine(const Recipe& recipe, const RunDir& run) {
  std::vector<ChildSpec> specs = {PlaceCoordinator(recipe, run)};
  for (int64_t i = 0; i < recipe.reward.workers; ++i) specs.push_back(PlaceWorker(recipe, run, "reward", i, SharedDevices::kYes));
  for (int64_t i = 0; i < recipe.rollout.workers; ++i) specs.push_back(PlaceWorker(recipe, run, "rollout", i, SharedDevices::kYes));
  specs.push_back(Trainer(recipe, run, recipe.trainer.ranks == 1 ? std::vector<std::string>{} : MpirunCommand(recipe.trainer.ranks)));
  PlaceOnDevices(recipe, specs.back(), "trainer", 0, recipe.placement.trainer_gpus);
  const int64_t threads = recipe.trainer.ranks * recipe.trainer.threads + recipe.rollout.workers * recipe.rollout.engine.threads + 1;
  for (ChildSpec& spec : specs) AddOpenMpWait(threads, spec.environment);  // and one for the roles that mostly wait
  // Slurm's local rank of the batch step would put every worker on device 0.
  if (std::getenv("SLURM_LOCALID"))
    for (ChildSpec& spec : specs)
      if (spec.name.starts_with("rollout")) spec.command.insert(spec.command.begin(), {"env", "-u", "SLURM_LOCALID"});
  return specs;
}

std::vector<ChildSpec> OverAllocation(const Recipe& recipe, const RunDir& run, const Allocation& allocation) {
  const NodesOfRoles places = SpreadOverNodes(recipe, allocation);
  std::vector<ChildSpec> specs = {PlaceCoordinator(recipe, run)};
  OnNode(specs.back(), allocation, 0, 1);
  for (int64_t i = 0; i < recipe.reward.workers; ++i) {
    specs.push_back(PlaceWorker(recipe, run, "reward", i, SharedDevices::kYes));
    OnNode(specs.back(), allocation, places.rewards[static_cast<size_t>(i)], recipe.reward.threads);
  }
  const int64_t trainer_nodes = static_cast<int64_t>(places.trainer.size());
  const int64_t trainer_gpus = (recipe.placement.trainer_gpus + trainer_nodes - 1) / trainer_nodes;  // of one node
  std::vector<int64_t> on_node(allocation.nodes.size(), 0);
  for (int64_t i = 0; i < recipe.rollout.workers; ++i) {
    const size_t node = places.rollouts[static_cast<size_t>(i)];
    ChildSpec spec = Role(recipe, run, "candor-torch", "rollout", i, recipe.rollout.engine.threads);
    const bool shares = std::find(places.trainer.begin(), places.trainer.end(), node) != places.trainer.end();
    PlaceOnDevices(recipe, spec, "rollout", on_node[node]++, shares ? trainer_gpus : 0);
    OnNode(spec, allocation, node, recipe.rollout.engine.threads);
    specs.push_back(std::move(spec));
  }
  std::string nodes;
  for (const size_t node : places.trainer) nodes += (nodes.empty() ? "" : ",") + allocation.nodes[node];
  std::vector<std::string> srun = SrunLearners(recipe.trainer.ranks, recipe.trainer.threads);
  srun.insert(srun.end(), {"--nodes=" + std::to_string(trainer_nodes), "--nodelist=" + nodes});
  ChildSpec trainer = Trainer(recipe, run, {});
  PlaceOnDevices(recipe, trainer, "trainer", 0, trainer_gpus);
  if (auto devices = trainer.environment.find("CUDA_VISIBLE_DEVICES"); devices != trainer.environment.end())
    srun.insert(srun.end(), {"env", "CUDA_VISIBLE_DEVICES=" + devices->second});
  specs.push_back(Trainer(recipe, run, srun));
  specs.back().environment = trainer.environment;
  specs.back().before_restart = [names = allocation.nodes](std::vector<std::string>& command) {
    CancelSteps("trainer");
    MoveFromDeadNodes(command, names);
  };
  for (ChildSpec& spec : specs) {
    spec.environment["CANDOR_HOST"] = "auto";
    if (!spec.proof)  // srun returns 0 when it lost the node
      spec.proof = [run, steps = static_cast<uint64_t>(recipe.trainer.steps)] { return IsRunFinished(run.path, steps); };
  }
  return specs;
}

}  // namespace

// It ends with 0 when it is told to end, too, whoever tells it.
ChildSpec PlaceCoordinator(const Recipe& recipe, const RunDir& run) {
  ChildSpec spec = Role(recipe, run, "candor", "coordinator", -1, 1);
  spec.proof = [run, steps = static_cast<uint64_t>(recipe.trainer.steps)] { return IsRunFinished(run.path, steps); };
  return spec;
}

ChildSpec PlaceWorker(const Recipe& recipe, const RunDir& run, const std::string& role, int64_t index, SharedDevices shared) {
  if (role == "reward") return Role(recipe, run, "candor", role, index, 1);
  ChildSpec spec = Role(recipe, run, "candor-torch", role, index, recipe.rollout.engine.threads);
  if (shared == SharedDevices::kYes) PlaceOnDevices(recipe, spec, role, index, recipe.placement.trainer_gpus);
  return spec;
}

Result<std::optional<Allocation>> FindAllocation() {
  const char* list = std::getenv("SLURM_JOB_NODELIST");
  if (!std::getenv("SLURM_JOB_ID") || !list) return std::optional<Allocation>();
  CANDOR_ASSIGN(const std::string names, RunForOutput({"scontrol", "show", "hostnames", list}));
  Allocation allocation;
  std::istringstream lines(names);
  for (std::string name; lines >> name;) allocation.nodes.push_back(name);
  if (allocation.nodes.empty())
    return Fail(ErrorCode::kUnavailable, "Slurm names no node of this allocation", "scontrol show hostnames " + std::string(list));
  allocation.cpus_per_node = std::max<int64_t>(1, NumberFrom("SLURM_CPUS_ON_NODE", NumberFrom("SLURM_JOB_CPUS_PER_NODE", 1)));
  allocation.gpus_per_node = NumberFrom("SLURM_GPUS_ON_NODE", -1);
  if (allocation.gpus_per_node < 0) {  // a shell of salloc is told of its CPUs only
    const Result<std::string> gres =
        RunForOutput({"squeue", "--noheader", "--format=1 %b", "--jobs=" + std::string(std::getenv("SLURM_JOB_ID"))});
    allocation.gpus_per_node = gres ? LargestNode(*gres).gpus : 0;
  }
  allocation.inside = std::getenv("SLURMD_NODENAME") != nullptr;
  return std::optional(std::move(allocation));
}

Result<std::vector<std::string>> StageProgram(const Recipe& recipe, const std::string& folder) {
  CANDOR_ASSIGN(const std::optional<Allocation> allocation, FindAllocation());
  std::vector<std::string> program = Program(recipe, folder, "candor-torch");
  if (allocation && !allocation->inside)
    program.insert(program.begin(), {"srun", "--job-name=stage", "--overlap", "--mpi=none", "--nodes=1", "--ntasks=1",
                                     "--nodelist=" + allocation->nodes[0], "--cpus-per-task", std::to_string(allocation->cpus_per_node)});
  return program;
}

NodesOfRoles SpreadOverNodes(const Recipe& recipe, const Allocation& allocation) {
  const size_t nodes = allocation.nodes.size();
  const auto rounded_up = [](int64_t a, int64_t b) { return static_cast<size_t>((a + b - 1) / std::max<int64_t>(1, b)); };
  size_t for_trainer = allocation.gpus_per_node > 0 && recipe.placement.trainer_gpus > 0
                           ? rounded_up(recipe.placement.trainer_gpus, allocation.gpus_per_node)
                           : rounded_up(recipe.trainer.ranks * recipe.trainer.threads, allocation.cpus_per_node);
  const size_t most = std::min(static_cast<size_t>(recipe.trainer.ranks), recipe.placement.colocate || nodes == 1 ? nodes : nodes - 1);
  for_trainer = std::clamp<size_t>(for_trainer, 1, std::max<size_t>(1, most));
  NodesOfRoles places;
  for (size_t node = 0; node < for_trainer; ++node) places.trainer.push_back(node);
  const size_t first = recipe.placement.colocate || for_trainer == nodes ? 0 : for_trainer, others = nodes - first;
  for (int64_t i = 0; i < recipe.rollout.workers; ++i) places.rollouts.push_back(first + static_cast<size_t>(i) % others);
  for (int64_t i = 0; i < recipe.reward.workers; ++i) places.rewards.push_back(static_cast<size_t>(i) % nodes);
  return places;
}

std::vector<ChildSpec> PlaceRoles(const Recipe& recipe, const RunDir& run, Spread spread, const Allocation& allocation) {
  if (spread == Spread::kLearners) return {Trainer(recipe, run, SrunLearners(recipe.trainer.ranks, recipe.trainer.threads))};
  if (spread == Spread::kAllocation) return OverAllocation(recipe, run, allocation);
  return OnThisMachine(recipe, run);
}

}  // namespace candor::cli
