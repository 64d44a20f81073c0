// One suite for every backend of core/collective.h: what a rank must see. Run by threads (local), by mpirun (MPI) and, with fake or real
// devices, by NCCL.
#pragma once
#include <functional>
#include <string>

#include "core/collective.h"

namespace candor {

// Returns "" when rank `collective` saw everything it should, else the first difference.
std::string CheckCollective(Collective& collective);

}  // namespace candor
