// One fuzz target per parser of foreign bytes. A target takes any bytes and must return: no crash, no sanitizer report, bounded memory, and
// what it accepted must hold what the parser promises. Compiled by clang each becomes a libFuzzer program (main_libfuzzer.cc); everywhere
// test_fuzz runs the seeds and thousands of seeded mutations of them (mutations_test.cc).
#pragma once
#include <ostream>
#include <string>
#include <string_view>
#include <vector>

namespace candor::fuzz {

struct Target {
  const char* name;
  void (*run)(std::string_view bytes);
  std::vector<std::string> (*seeds)();
  int mutations;  // in the everyday suite; fewer where one try is slow
};

inline void PrintTo(const Target& target, std::ostream* out) { *out << target.name; }

const std::vector<Target>& Targets();
const Target* FindTarget(std::string_view name);

// The parts of Targets(), by file.
std::vector<Target> MessageTargets();  // message_targets.cc
std::vector<Target> TextTargets();     // text_targets.cc
std::vector<Target> FileTargets();     // file_targets.cc
std::vector<Target> VersionTargets();  // version_targets.cc

// Aborts with the text when a promise does not hold: a finding, for libFuzzer and gtest alike.
void Promise(bool holds, const char* what);

}  // namespace candor::fuzz
