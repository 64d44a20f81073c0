// candor-torch: the roles and tools that need a model. People call `candor`, which hands these commands over.
#include <cstdio>
#include <cstring>

#include "cli/torch/commands.h"
#include "core/result.h"

namespace {
struct TorchCommand {
  const char* name;
  int (*run)(int argc, const char* const* argv);
};
constexpr TorchCommand kCommands[] = {
    {"", nullptr},
};
}  // namespace

int main(int argc, char** argv) {
  if (argc >= 2)
    for (const TorchCommand& command : kCommands)
      if (command.run && std::strcmp(argv[1], command.name) == 0) return command.run(argc - 1, argv + 1);
  std::fprintf(stderr, "candor-torch: call it through candor; see candor --help\n");
  return static_cast<int>(candor::ExitCode::kUsage);
}
