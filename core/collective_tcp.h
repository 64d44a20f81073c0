// The TCP backend (host memory): for ranks that neither mpirun nor srun started. Same suite, same bits as MPI.
#pragma once
#include <memory>

#include "core/collective.h"
#include "core/tcp_rendezvous.h"

namespace candor {

Result<std::unique_ptr<Collective>> MakeTcpCollective(const TcpRendezvous& rendezvous, CollectiveOptions options = {});

}  // namespace candor
