// malloc and OpenMP settings.
#include "model/process.h"

#include <malloc.h>
#include <strings.h>

#include <cstdlib>

namespace candor {

bool PrepareTorchProcess() {
#ifdef __GLIBC__
  mallopt(M_MMAP_THRESHOLD, 32 << 20);   // the largest that glibc takes
  mallopt(M_TRIM_THRESHOLD, 512 << 20);  // what stays in the process when it is free
  mallopt(M_TOP_PAD, 64 << 20);
#endif
  const char* policy = std::getenv("OMP_WAIT_POLICY");
  return policy && ::strcasecmp(policy, "passive") == 0;
}

}  // namespace candor
