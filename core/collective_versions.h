// Which NCCL and Open MPI this program was built for ("2.28.9"); both are opened by name when they are first used. Neither is needed to
// ask.
#pragma once

namespace candor {

const char* NcclVersion();
const char* OpenMpiVersion();

}  // namespace candor
