// How a process finds out that it is one of several ranks, and joins them:
//   mpirun, srun --mpi=pmix         MPI
//   CANDOR_WORLD_SIZE and a place   TCP, for clusters that have neither: CANDOR_RANK (or SLURM_PROCID) and CANDOR_WORLD_SIZE (or
//   SLURM_NTASKS)
//                                   say who it is, CANDOR_RENDEZVOUS where to meet: file:DIR, which all ranks see, or tcp:HOST:PORT of rank
//                                   0
//   nothing of that                 alone
#pragma once
#include <memory>
#include <string>

#include "core/collective.h"

namespace candor {

struct JoinOptions {
  std::string rendezvous;  // instead of CANDOR_RENDEZVOUS
  std::string
      secret;  // for tcp:HOST:PORT; else the content of CANDOR_RENDEZVOUS_SECRET_FILE (mode 0600; secrets are not put into variables)
  int join_ms = 120'000;  // until all ranks are there
  CollectiveOptions collective;
};

// Whether something says that there are other ranks.
bool HasLauncher(const std::string& rendezvous = "");
Result<std::unique_ptr<Collective>> JoinRanks(const JoinOptions& options = {});

}  // namespace candor
