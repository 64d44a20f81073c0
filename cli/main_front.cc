// candor: the front program. It holds everything that needs no LibTorch and starts in milliseconds; commands that need a model are handed
// to candor-torch, which stands beside it.
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "cli/bench_front.h"
#include "cli/command_line.h"
#include "cli/command_table.h"
#include "cli/openmp_wait.h"
#include "core/escaped_exception.h"
#include "core/options.h"
#include "core/result.h"

namespace {

using candor::cli::Command;
using candor::cli::Group;

void PrintGroup(Group group, const char* title) {
  std::printf("\n%s\n", title);
  for (const Command& command : candor::cli::Commands())
    if (command.group == group) std::printf("  %-12s %s\n", command.name, command.summary);
}

void PrintHelp() {
  std::printf(
      "candor %s - reinforcement learning that trains language models to know what they know\n\nUsage: candor COMMAND [ARGUMENTS]   "
      "(candor COMMAND --help explains one)\n",
      candor::cli::VersionText());
  PrintGroup(Group::kStart, "Start");
  PrintGroup(Group::kLook, "Look");
  PrintGroup(Group::kTools, "Tools");
  std::printf(
      "\nExamples\n"
      "  candor run recipes/tiny.toml                     a first look, under a minute\n"
      "  candor run recipes/cities.toml                   the main job\n"
      "  candor calibration answers.jsonl                 is anybody's confidence worth anything?\n"
      "\ncandor --torch DIR COMMAND: with the LibTorch (or installed Python torch) in DIR\n");
}

int Unknown(const std::string& name) {
  std::vector<std::string> known;
  for (const Command& command : candor::cli::Commands()) known.push_back(command.name);
  std::string nearest = candor::NearestName(name, known);
  std::fprintf(stderr, "candor: unknown command '%s'%s\n", name.c_str(),
               nearest.empty() ? "; see candor --help" : ("; did you mean '" + nearest + "'?").c_str());
  return static_cast<int>(candor::ExitCode::kUsage);
}

int ExecTorch(int argc, char** argv) {
  std::error_code error;
  std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  std::string torch = (self.parent_path() / "candor-torch").string();
  std::vector<char*> arguments{torch.data()};
  for (int i = 1; i < argc; ++i) arguments.push_back(argv[i]);
  arguments.push_back(nullptr);
  ::execv(torch.c_str(), arguments.data());
  std::fprintf(stderr, "candor: cannot start %s: %s; build it with tools/build.sh\n", torch.c_str(), std::strerror(errno));
  return static_cast<int>(candor::ExitCode::kFailed);
}

// candor --torch DIR COMMAND: every process of this command finds its LibTorch there (an installation without one of its own).
void UseTorch(const std::string& torch) {
  const char* before = std::getenv("LD_LIBRARY_PATH");
  const std::string site = torch + "/..";
  std::string path = torch + "/lib:" + site + "/nvidia/cu13/lib:" + site + "/nvidia/nccl/lib";
  if (before && *before) path += std::string(":") + before;
  ::setenv("LD_LIBRARY_PATH", path.c_str(), 1);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 2 && std::strcmp(argv[1], "--torch") == 0) {
    UseTorch(argv[2]);
    for (int i = 3; i <= argc; ++i) argv[i - 2] = argv[i];
    argc -= 2;
  }
  candor::TellEscapedExceptions(argc >= 2 ? std::string("candor ") + argv[1] : "candor");
  if (argc >= 2) candor::cli::SetOpenMpWait(argc > 2 && std::strcmp(argv[1], "bench") == 0 ? std::string("bench ") + argv[2] : argv[1]);
  if (argc < 2 || std::strcmp(argv[1], "--help") == 0 || std::strcmp(argv[1], "-h") == 0 || std::strcmp(argv[1], "help") == 0) {
    PrintHelp();
    return candor::cli::FinishOutput(argc < 2 ? static_cast<int>(candor::ExitCode::kUsage) : 0);
  }
  if (std::strcmp(argv[1], "--version") == 0) {
    candor::cli::PrintVersion();
    std::fflush(stdout);
    return ExecTorch(argc, argv);  // it knows its LibTorch
  }
  if (argc > 2 && std::strcmp(argv[1], "bench") == 0)
    if (const candor::cli::BenchBody bench = candor::cli::FrontBench(argv[2])) return candor::cli::FinishOutput(bench(argc - 2, argv + 2));
  for (const Command& command : candor::cli::Commands())
    if (std::strcmp(argv[1], command.name) == 0)
      return command.run ? candor::cli::FinishOutput(command.run(argc - 1, argv + 1)) : ExecTorch(argc, argv);
  return Unknown(argv[1]);
}
