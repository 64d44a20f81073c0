// The list of subcommands as `candor --help` groups them. `run` is null for the commands that candor-torch holds.
#pragma once
#include <vector>

namespace candor::cli {

enum class Group { kStart, kLook, kTools, kRole };

struct Command {
  const char* name;
  Group group;
  const char* summary;
  int (*run)(int argc, const char* const* argv);
};

const std::vector<Command>& Commands();
const char* VersionText();
// Version, commit, protocol and the versions of the libraries that can be opened here.
void PrintVersion();

}  // namespace candor::cli
