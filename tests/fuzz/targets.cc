#include "tests/fuzz/targets.h"

#include <cstdio>
#include <cstdlib>

namespace candor::fuzz {

const std::vector<Target>& Targets() {
  static const std::vector<Target> all = [] {
    std::vector<Target> list;
    for (auto* part : {&MessageTargets, &TextTargets, &FileTargets, &VersionTargets})
      for (const Target& target : part()) list.push_back(target);
    return list;
  }();
  return all;
}

const Target* FindTarget(std::string_view name) {
  for (const Target& target : Targets())
    if (name == target.name) return &target;
  return nullptr;
}

void Promise(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "fuzz target: broken promise: %s\n", what);
  std::abort();
}

}  // namespace candor::fuzz
