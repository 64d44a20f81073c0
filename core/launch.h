// Whether a launcher (mpirun, srun --mpi=pmix, or a site's own) started this process as one rank of several. The one place that knows their
// environment variables. Any thread.
#pragma once
#include <optional>
#include <string>

namespace candor {

// nullopt: a plain process, alone. Otherwise what launched it, for messages. A batch script or a role that `srun --mpi=none` started is a
// plain process, although Slurm's own variables (SLURM_PROCID) stand in its environment.
std::optional<std::string> LauncherOfThisProcess();
// 8 random hex digits, the same for all of this process's life: names of temporary files. A process id is no name where machines share a
// folder: each of them counts its own.
const std::string& ProcessToken();

// This machine's name, as Slurm or the system says it.
std::string NodeName();
// This machine as others reach it, when the run is spread over several: CANDOR_HOST, which the job that starts a role sets. "" = the run
// lives on one machine and nothing needs to leave its loopback.
// "auto" there stands for NodeName().
std::string HostForPeers();
// `asked`, unless it is the loopback of one machine and others must reach this process: then every interface of it.
std::string ListenAddress(const std::string& asked);

}  // namespace candor
