// candor-torch: the roles and tools that need a model. People call `candor`, which hands these commands over.
#include <cstdio>
#include <cstring>

#include "cli/command_line.h"
#include "cli/command_table.h"
#include "cli/torch/commands.h"
#include "core/result.h"
#include "model/process.h"
#include "model/torch_version.h"

namespace {
struct TorchCommand {
  const char* name;
  int (*run)(int argc, const char* const* argv);
};
constexpr TorchCommand kCommands[] = {
    {"bench", candor::cli::RunBench},         {"eval", candor::cli::RunEval},           {"export", candor::cli::RunExport},
    {"generate", candor::cli::RunGenerate},   {"score", candor::cli::RunScore},         {"sft", candor::cli::RunSft},
    {"rollout", candor::cli::RunRolloutRole}, {"trainer", candor::cli::RunTrainerRole},
};
}  // namespace

int main(int argc, char** argv) {
  candor::PrepareTorchProcess();
  if (argc >= 2 && std::strcmp(argv[1], "--version") == 0) {
    std::printf("candor-torch %s, LibTorch %s\n", candor::cli::VersionText(), candor::LibTorchVersion());
    return 0;
  }
  if (argc >= 2)
    for (const TorchCommand& command : kCommands)
      if (command.run && std::strcmp(argv[1], command.name) == 0) return candor::cli::FinishOutput(command.run(argc - 1, argv + 1));
  std::fprintf(stderr, "candor-torch: call it through candor; see candor --help\n");
  return static_cast<int>(candor::ExitCode::kUsage);
}
