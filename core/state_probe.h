// Whether a folder can hold a run's state: the ledger (fsync), its fences (link(2) that exactly one of many can win), its pointers (rename
// over an existing file) and RocksDB's lock (fcntl). Shared file systems differ in each of these; a run is refused where it would lose
// data, and told by name what is missing.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

struct StateProbe {
  std::string file_system;            // "ext4", "nfs", "tmpfs", .. as the kernel names it; "0x.." where we know no name
  double fsync_ms = 0;                // median of a few small appends
  std::vector<std::string> unsafe;    // sentences: why no state may live here
  std::vector<std::string> warnings;  // what works but will hurt
};

// The calls that are tried; tests put failing ones in their place.
struct ProbeCalls {
  std::function<int(const char*, const char*)> link, rename;
  std::function<int(int)> fsync;
  std::function<bool(int fd)> lock, locked_by_other;  // take a write lock; whether another process sees it
};
ProbeCalls SystemProbeCalls();

// Makes the folder where it is missing and leaves nothing behind. kIo: nothing can be written there at all.
Result<StateProbe> ProbeStateDir(const std::string& folder, const ProbeCalls& calls = SystemProbeCalls());
// The same as a verdict: kIo with every reason, and what to do.
Status RequireSafeStateDir(const std::string& folder, const StateProbe& probe);

}  // namespace candor
