#include "core/launch.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string_view>

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

const std::string& ProcessToken() {
  static const std::string token = [] {
    char digits[9];
    std::snprintf(digits, sizeof digits, "%08x", std::random_device{}());
    return std::string(digits);
  }();
  return token;
}

std::string HostForPeers() {
  const char* host = std::getenv("CANDOR_HOST");
  if (!host) return "";
  return std::string(host) == "auto" ? NodeName() : host;
}

std::string NodeName() {
  if (const char* node = std::getenv("SLURMD_NODENAME")) return node;
  char self[256] = "localhost";
  ::gethostname(self, sizeof self - 1);
  return self;
}

std::string ListenAddress(const std::string& asked) {
  constexpr std::string_view kLoopback = "tcp://127.0.0.1:";
  if (!asked.starts_with(kLoopback) || HostForPeers().empty()) return asked;
  return "tcp://0.0.0.0:" + asked.substr(kLoopback.size());
}

}  // namespace candor
