// Memory for large tensors. malloc gets blocks of 32 MiB and more from the system each time and gives them back at once; in pages of 4 KiB
// that costs more than many a pass over them.
#pragma once
#include "model/aten.h"

namespace candor {

// Zeroed memory in large pages, where the system has them to give. Throws std::bad_alloc.
at::Tensor LargePages(int64_t elements, at::ScalarType type = at::kBFloat16);
// Memory with anything in it: malloc's, or from where on malloc does not keep it in large pages, of which up to 512 MiB wait here for the
// next who asks. Any thread.
at::Tensor Room(int64_t elements, at::ScalarType type = at::kBFloat16);

}  // namespace candor
