// `candor bench reliability LOG...`: the figures R1 to R15 that tests printed ("candor-figure R5 name=value unit bound=..."), as one table.
#include <fmt/format.h>

#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <regex>
#include <sstream>

#include "cli/bench_front.h"
#include "cli/command_line.h"

namespace candor::cli {

namespace {

constexpr int kPromises = 15;
const char* const kPromise[kPromises] = {"nothing acknowledged is lost or half-visible",
                                         "every rollout is accounted exactly once",
                                         "a resumed run is bit-equal",
                                         "elastic resume at another world size",
                                         "detection of what died or hangs",
                                         "recovery, role by role",
                                         "effective training time under failures",
                                         "the step does not stop for checkpoints",
                                         "deterministic simulation of the control plane",
                                         "parsers of foreign bytes",
                                         "strangers are refused",
                                         "sandbox and URLs hold",
                                         "bad numbers are never published",
                                         "soak: no growth under faults",
                                         "fails loudly, within its bound"};

struct Figure {
  int promise = 0;
  std::string text, test;
};

// ctest -V writes "12: " before what a test prints and "Start 12: name" or "test 12" before that.
std::vector<Figure> FiguresOf(std::istream& log) {
  static const std::regex start("^\\s*Start\\s+(\\d+): (\\S+)"), figure("^(?:(\\d+): )?.*candor-figure R(\\d+) (.*)$");
  std::map<std::string, std::string> names;
  std::vector<Figure> figures;
  for (std::string line; std::getline(log, line);) {
    std::smatch match;
    if (std::regex_search(line, match, start)) names[match[1]] = match[2];
    if (!std::regex_match(line, match, figure)) continue;
    const int promise = std::stoi(match[2].str().substr(0, 3));
    if (1 <= promise && promise <= kPromises) figures.push_back({promise, match[3], names.count(match[1]) ? names[match[1]] : ""});
  }
  return figures;
}

}  // namespace

int RunBenchReliability(int argc, const char* const* argv) {
  std::vector<std::string> logs;
  bool as_json = false;
  CommandLine app{
      "The reliability figures R1 to R15 that the tests of a log printed, as one table; docs/reliability.md says what each promises and "
      "which "
      "test prints it. Exit code 1 when a figure is missing.",
      "candor bench reliability"};
  app.Add("LOG", &logs, "logs of ctest -V or tools/soak.sh").Required().ExistingFile();
  app.AddFlag("--json", &as_json, "as JSON");
  app.AddFooter(
      "Examples:\n  ctest --test-dir build/release -V -R 'fault|sim' | tee figures.log; candor bench reliability figures.log\n"
      "  candor bench reliability docs/soak.log --json");
  if (const auto code = app.Parse(argc, argv)) return *code;
  std::map<int, std::vector<Figure>> by_promise;
  for (const std::string& path : logs) {
    std::ifstream file(path);
    for (Figure& figure : FiguresOf(file)) by_promise[figure.promise].push_back(std::move(figure));
  }
  nlohmann::ordered_json out = nlohmann::ordered_json::array();
  bool all = true;
  for (int promise = 1; promise <= kPromises; ++promise) {
    nlohmann::ordered_json figures = nlohmann::ordered_json::array();
    for (const Figure& figure : by_promise[promise]) figures.push_back({{"figure", figure.text}, {"test", figure.test}});
    all = all && !figures.empty();
    if (!as_json) {
      std::printf("R%-3d %s%s\n", promise, kPromise[promise - 1], figures.empty() ? ": NO FIGURE in these logs" : "");
      for (const Figure& figure : by_promise[promise])
        std::printf("       %s%s\n", figure.text.c_str(), figure.test.empty() ? "" : ("   [" + figure.test + "]").c_str());
    }
    out.push_back({{"promise", fmt::format("R{}", promise)}, {"what", kPromise[promise - 1]}, {"figures", figures}});
  }
  if (as_json) std::printf("%s\n", out.dump(2).c_str());
  return all ? 0 : static_cast<int>(ExitCode::kFailed);
}

}  // namespace candor::cli
