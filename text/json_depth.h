// How deep a JSON text nests. Checked before parsing what strangers wrote: libraries print and copy nested values recursively.
#pragma once
#include <string_view>

namespace candor {

inline constexpr int kMaxJsonDepth = 100;  // messages with tool calls reach about 15

// The deepest nesting of brackets outside strings; O(length), needs no valid JSON.
int BracketDepth(std::string_view json);

}  // namespace candor
