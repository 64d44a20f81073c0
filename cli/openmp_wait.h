// How long a thread of OpenMP spins before it sleeps when it waits for the others of its loop (GOMP_SPINCOUNT, which libgomp reads when it
// is loaded). Sleeping and being woken between two loops costs more than many a loop, up to 40 % of the engine's speed in a virtual
// machine; but a thread that spins on a core that another process needs takes it away.
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <string_view>

namespace candor::cli {

// For this process and what it starts, unless the environment says something: short for commands that start several processes here, or are
// one of them; long for those that compute alone.
void SetOpenMpWait(std::string_view command);

// For children of this process that compute with `threads` threads together: long where the machine has a core for each.
void AddOpenMpWait(int64_t threads, std::map<std::string, std::string>& environment);

}  // namespace candor::cli
