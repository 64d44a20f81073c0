// One fuzz target per parser of foreign bytes. A target takes any bytes and must return: no crash, no sanitizer report, bounded memory, and
// what it accepted must hold what the parser promises. Compiled by clang they become a libFuzzer program (main_libfuzzer.cc); everywhere
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
  std::vector<std::string> (*seeds)();  // inputs that once were findings among them
  int mutations;                        // in the everyday suite; fewer where one try is slow
};

inline void PrintTo(const Target& target, std::ostream* out) { *out << target.name; }

const std::vector<Target>& Targets();
const Target* FindTarget(std::string_view name);

// The parts of Targets(), by file.
std::vector<Target> MessageTargets();  // message_targets.cc
std::vector<Target> TextTargets();     // text_targets.cc
std::vector<Target> FileTargets();     // file_targets.cc
std::vector<Target> VersionTargets();  // version_targets.cc
std::vector<Target> ServiceTargets();  // service_targets.cc
std::vector<Target> RecordTargets();   // record_targets.cc

// Aborts with the text when a promise does not hold: a finding, for libFuzzer and gtest alike.
void Promise(bool holds, const char* what);

// A folder of this process, gone with it; and a file in it.
const std::string& Folder();
void Write(const std::string& path, std::string_view bytes);

// JSON that nests so deeply that whoever copies or prints it by recursion runs out of stack.
std::string DeepJson();

}  // namespace candor::fuzz
