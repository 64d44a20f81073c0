// libFuzzer's entry for the target named at compile time.
#include <spdlog/spdlog.h>

#include <cstddef>
#include <cstdint>

#include "tests/fuzz/targets.h"

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  spdlog::set_level(spdlog::level::off);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const candor::fuzz::Target* target = candor::fuzz::FindTarget(CANDOR_FUZZ_TARGET);
  candor::fuzz::Promise(target != nullptr, "there is a target " CANDOR_FUZZ_TARGET);
  target->run({reinterpret_cast<const char*>(data), size});
  return 0;
}
