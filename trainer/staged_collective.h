// Device memory over a collective of host memory: every call copies in, runs and copies out. For ranks that share a GPU, which NCCL
// refuses: slower, but a run of two ranks works on a machine with one GPU.
#pragma once
#include <memory>

#include "core/collective.h"
#include "model/device.h"

namespace candor {

// `host` outlives the result. Thread rule and errors as in core/collective.h.
std::unique_ptr<Collective> MakeStagedCollective(Collective& host, const at::Device& device);

}  // namespace candor
