// What tests of the server know of the engine that stands in for the real one.
#pragma once
#include <cstdint>

namespace candor::stand_in {

inline constexpr int64_t kPositions = 4096;  // of prompt and reply together
inline constexpr int32_t kBreaks = 5;        // a prompt that begins with this token ends the engine

}  // namespace candor::stand_in
