// candor-torch: the roles and tools that need a model. People call `candor`, which hands these commands over.
#include <cstdio>
#include <cstring>
#include <string>

#include "cli/command_line.h"
#include "cli/command_table.h"
#include "cli/torch/commands.h"
#include "core/escaped_exception.h"
#include "core/log.h"
#include "core/result.h"
#include "model/device.h"
#include "model/process.h"
#include "model/torch_version.h"

namespace {
struct TorchCommand {
  const char* name;
  int (*run)(int argc, const char* const* argv);
};
constexpr TorchCommand kCommands[] = {
    {"baseline", candor::cli::RunBaseline},   {"bench", candor::cli::RunBench},      {"checkpoint", candor::cli::RunCheckpoint},
    {"eval", candor::cli::RunEval},           {"export", candor::cli::RunExport},    {"generate", candor::cli::RunGenerate},
    {"score", candor::cli::RunScore},         {"sft", candor::cli::RunSft},          {"rollout", candor::cli::RunRolloutRole},
    {"trainer", candor::cli::RunTrainerRole}, {"train-rm", candor::cli::RunTrainRm}, {"reward-model", candor::cli::RunRewardModel},
    {"serve", candor::cli::RunServe},
};
// For `candor doctor`: the GPU that device = "auto" takes, or why it takes none.
int PrintDevice() {
  const auto gpu = candor::OpenGpu();
  std::printf("%s\n", gpu ? candor::Name(*gpu).c_str() : gpu.error().Message().c_str());
  return static_cast<int>(gpu ? candor::ExitCode::kOk : candor::ExitCode::kUnavailable);
}
}  // namespace

int main(int argc, char** argv) {
  candor::TellEscapedExceptions(argc >= 2 ? std::string("candor ") + argv[1] : "candor-torch");
  candor::PrepareTorchProcess();
  // Standard output belongs to results; a role goes on in its run's log.
  if (const candor::Status logged = candor::StartLog("candor", "", true); !logged)
    std::fprintf(stderr, "%s\n", logged.error().Message().c_str());
  if (argc >= 2 && std::strcmp(argv[1], "--version") == 0) {
    std::printf("candor-torch %s, LibTorch %s\n", candor::cli::VersionText(), candor::LibTorchVersion());
    return 0;
  }
  if (argc >= 2 && std::strcmp(argv[1], "--device") == 0) return PrintDevice();
  if (argc >= 2)
    for (const TorchCommand& command : kCommands)
      if (command.run && std::strcmp(argv[1], command.name) == 0) return candor::cli::FinishOutput(command.run(argc - 1, argv + 1));
  std::fprintf(stderr, "candor-torch: call it through candor; see candor --help\n");
  return static_cast<int>(candor::ExitCode::kUsage);
}
