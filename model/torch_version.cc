#include "model/torch_version.h"

#include <torch/headeronly/version.h>

namespace candor {
const char* LibTorchVersion() { return TORCH_VERSION; }
}  // namespace candor
