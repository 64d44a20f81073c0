#include "core/json_depth.h"

#include <algorithm>
#include <array>

namespace candor {

int BracketDepth(std::string_view json) {
  int depth = 0;
  int deepest = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      deepest = std::max(deepest, ++depth);
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return deepest;
}

size_t MostKeys(std::string_view json) {
  std::array<size_t, kMaxJsonDepth + 1> keys{};  // of the open object at each depth
  size_t depth = 0, most = 0;
  bool in_string = false;
  for (size_t i = 0; i < json.size(); ++i) {
    const char c = json[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth < keys.size()) keys[depth] = 0;
    } else if (c == ']' || c == '}') {
      depth -= depth > 0;
    } else if (c == ':' && depth < keys.size()) {
      most = std::max(most, ++keys[depth]);
    }
  }
  return most;
}

}  // namespace candor
