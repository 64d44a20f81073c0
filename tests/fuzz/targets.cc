#include "tests/fuzz/targets.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>

namespace candor::fuzz {

const std::vector<Target>& Targets() {
  static const std::vector<Target> all = [] {
    std::vector<Target> list;
    for (auto* part : {&MessageTargets, &TextTargets, &FileTargets, &VersionTargets, &ServiceTargets, &RecordTargets})
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

const std::string& Folder() {
  static const struct Owner {
    Owner() {
      std::string name = (std::filesystem::temp_directory_path() / "candor-fuzz-XXXXXX").string();
      Promise(::mkdtemp(name.data()) != nullptr, "a temporary folder");
      path = name;
    }
    ~Owner() {
      std::error_code ignored;
      std::filesystem::remove_all(path, ignored);
    }
    std::string path;
  } owner;
  return owner.path;
}

void Write(const std::string& path, std::string_view bytes) {
  std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

std::string DeepJson() {
  constexpr size_t kLevels = 30000;
  return std::string(kLevels, '[') + std::string(kLevels, ']');
}

}  // namespace candor::fuzz
