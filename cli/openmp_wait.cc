#include "cli/openmp_wait.h"

#include <sched.h>

#include <algorithm>
#include <array>
#include <cstdlib>

namespace candor::cli {

namespace {

constexpr const char* kVariable = "GOMP_SPINCOUNT";
constexpr const char* kShort = "1500";   // less than a tenth of a millisecond: bridges the gap between two loops of one forward pass
constexpr const char* kLong = "300000";  // some milliseconds, libgomp's own choice where nobody else is
constexpr std::array<std::string_view, 13> kAlone = {"generate",     "eval",     "score",     "sft",         "export",
                                                     "serve",        "tokenize", "baseline",  "calibration", "train-rm",
                                                     "reward-model", "judge",    "checkpoint"};
constexpr std::array<std::string_view, 3> kBenchAlone = {"bench generate", "bench learn", "bench mismatch"};

// Cores that this process may use.
int64_t Cores() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

}  // namespace

void SetOpenMpWait(std::string_view command) {
  const auto is = [&](std::string_view name) { return name == command; };
  const bool alone = std::any_of(kAlone.begin(), kAlone.end(), is) || std::any_of(kBenchAlone.begin(), kBenchAlone.end(), is);
  ::setenv("OMP_WAIT_POLICY", "passive", 0);
  ::setenv(kVariable, alone ? kLong : kShort, 0);
}

void AddOpenMpWait(int64_t threads, std::map<std::string, std::string>& environment) {
  const char* given = std::getenv(kVariable);
  if (given && std::string_view(given) != kShort) return;  // the user's
  environment[kVariable] = threads <= Cores() ? kLong : kShort;
}

}  // namespace candor::cli
