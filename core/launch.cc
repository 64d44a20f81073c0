#include "core/launch.h"

#include <cstdlib>

namespace candor {

std::optional<std::string> LauncherOfThisProcess() {
  struct Sign {
    const char* variable;
    const char* launcher;
  };
  // mpirun sets PMIX_RANK as well, so its own name comes first.
  constexpr Sign kSigns[] = {{"OMPI_COMM_WORLD_SIZE", "mpirun"}, {"PMIX_RANK", "srun --mpi=pmix"}, {"PMI_RANK", "a PMI launcher"}};
  for (const Sign& sign : kSigns)
    if (std::getenv(sign.variable)) return sign.launcher;
  return std::nullopt;
}

std::string HostForPeers() {
  const char* host = std::getenv("CANDOR_HOST");
  return host ? host : "";
}

}  // namespace candor
