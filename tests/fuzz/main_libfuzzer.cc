// libFuzzer's entry: `fuzzer --target=NAME ...` runs one target. One program for all of them: each on its own would be linked and stored
// some forty times.
#include <spdlog/spdlog.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "tests/fuzz/targets.h"

namespace {
const candor::fuzz::Target* chosen = nullptr;
}

// libFuzzer passes over words that begin with two dashes.
extern "C" int LLVMFuzzerInitialize(int* argc, char*** argv) {
  constexpr char kTarget[] = "--target=";
  spdlog::set_level(spdlog::level::off);
  for (int i = 1; i < *argc; ++i)
    if (std::strncmp((*argv)[i], kTarget, sizeof kTarget - 1) == 0) chosen = candor::fuzz::FindTarget((*argv)[i] + sizeof kTarget - 1);
  candor::fuzz::Promise(chosen != nullptr, "--target=NAME names a target");
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  chosen->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
