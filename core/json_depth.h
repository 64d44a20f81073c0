// How deep a JSON text nests. Checked before parsing what strangers wrote: libraries print and copy nested values recursively.
#pragma once
#include <cstddef>
#include <string_view>

namespace candor {

inline constexpr int kMaxJsonDepth = 100;  // messages with tool calls reach about 15

// Objects that keep the order of their keys look for a key among all before it: a million keys would take minutes.
inline constexpr size_t kMaxJsonKeys = 10000;

// The most keys that one object of the text has. O(length), needs no valid JSON; what is nested deeper than kMaxJsonDepth is not counted.
size_t MostKeys(std::string_view json);

// The deepest nesting of brackets outside strings; O(length), needs no valid JSON.
int BracketDepth(std::string_view json);

}  // namespace candor
