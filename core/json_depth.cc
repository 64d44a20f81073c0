#include "core/json_depth.h"

#include <algorithm>
#include <array>

namespace candor {

namespace {

// Visits what stands outside strings, byte by byte.
template <typename Visit>
void OutsideStrings(std::string_view json, const Visit& visit) {
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string && c == '\\')
      ++i;
    else if (c == '"')
      in_string = !in_string;
    else if (!in_string)
      visit(c);
  }
}

}  // namespace

int BracketDepth(std::string_view json) {
  int depth = 0;
  int deepest = 0;
  OutsideStrings(json, [&](char c) {
    if (c == '[' || c == '{')
      deepest = std::max(deepest, ++depth);
    else if (c == ']' || c == '}')
      --depth;
  });
  return deepest;
}

size_t MostKeys(std::string_view json) {
  std::array<size_t, kMaxJsonDepth + 1> keys{};  // of the open object at each depth
  size_t depth = 0, most = 0;
  OutsideStrings(json, [&](char c) {
    if (c == '[' || c == '{') {
      if (++depth < keys.size()) keys[depth] = 0;
    } else if (c == ']' || c == '}') {
      depth -= depth > 0;
    } else if (c == ':' && depth < keys.size()) {
      most = std::max(most, ++keys[depth]);
    }
  });
  return most;
}

}  // namespace candor
