#include "cli/bench_front.h"

#include <map>

namespace candor::cli {

BenchBody FrontBench(const std::string& name) {
  static const std::map<std::string, BenchBody> benches = {
      {"coordinator", RunBenchCoordinator}, {"recover", RunBenchRecover}, {"reliability", RunBenchReliability}};
  const auto found = benches.find(name);
  return found == benches.end() ? nullptr : found->second;
}

}  // namespace candor::cli
