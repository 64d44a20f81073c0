// fuzz_seeds FOLDER: the first corpus of every target, FOLDER/<target>/<n>.
#include <cstdio>
#include <filesystem>
#include <fstream>

#include "tests/fuzz/targets.h"

int main(int argc, char** argv) {
  if (argc != 2) return std::fprintf(stderr, "usage: fuzz_seeds FOLDER\n"), 2;
  for (const candor::fuzz::Target& target : candor::fuzz::Targets()) {
    const std::string folder = std::string(argv[1]) + "/" + target.name;
    std::filesystem::create_directories(folder);
    size_t n = 0;
    for (const std::string& seed : target.seeds()) std::ofstream(folder + "/seed_" + std::to_string(n++), std::ios::binary) << seed;
  }
  return 0;
}
