// Benches that need no model in this process, answered by the front program; every other `candor bench NAME` is candor-torch's.
#pragma once
#include <string>

namespace candor::cli {

using BenchBody = int (*)(int argc, const char* const* argv);
// nullptr: candor-torch knows it, or nobody.
BenchBody FrontBench(const std::string& name);

int RunBenchCoordinator(int argc, const char* const* argv);
int RunBenchRecover(int argc, const char* const* argv);
int RunBenchReliability(int argc, const char* const* argv);

}  // namespace candor::cli
