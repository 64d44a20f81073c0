// Which LibTorch this program was built with; no torch in this header.
#pragma once

namespace candor {
const char* LibTorchVersion();
}  // namespace candor
