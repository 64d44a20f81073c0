// Where the processes of a run meet: files in its folder. endpoint.N is written by incarnation N of the coordinator and says where it
// listens; rl-finished.json is the last word of a coordinator whose run is over, for those who come later and would wait for it. Any
// thread.
#pragma once
#include <cstdint>
#include <string>

#include "core/disk.h"
#include "core/result.h"

namespace candor {

struct CoordinatorAddress {
  uint64_t epoch = 0;
  std::string endpoint;
  std::string node = {};  // the host name of the machine it runs on; "" where an older announcement does not say it
  std::string http = {};  // its HTTP interface, for people
};

// `http` is for people; peers read the endpoint.
Status AnnounceCoordinator(const std::string& run_dir, const CoordinatorAddress& address, const std::string& http,
                           Disk& disk = SystemDisk());
// The newest announcement. kUnavailable where there is none yet.
Result<CoordinatorAddress> FindCoordinator(const std::string& run_dir, Disk& disk = SystemDisk());

// The run is over after so many steps; a resume that asks for more steps goes beyond it.
Status RecordRunFinished(const std::string& run_dir, uint64_t steps, Disk& disk = SystemDisk());
// False too where nothing is recorded.
bool IsRunFinished(const std::string& run_dir, uint64_t steps, Disk& disk = SystemDisk());

}  // namespace candor
