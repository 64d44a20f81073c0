#include "core/collective_versions.h"

#define OMPI_SKIP_MPICXX 1  // the C++ bindings of mpi.h would ask for the library, which is opened by name
#include <mpi.h>
#include <nccl.h>

#define CANDOR_TEXT_OF(value) #value
#define CANDOR_TEXT(value) CANDOR_TEXT_OF(value)

namespace candor {

const char* NcclVersion() { return CANDOR_TEXT(NCCL_MAJOR) "." CANDOR_TEXT(NCCL_MINOR) "." CANDOR_TEXT(NCCL_PATCH); }
const char* OpenMpiVersion() {
  return CANDOR_TEXT(OMPI_MAJOR_VERSION) "." CANDOR_TEXT(OMPI_MINOR_VERSION) "." CANDOR_TEXT(OMPI_RELEASE_VERSION);
}

}  // namespace candor
