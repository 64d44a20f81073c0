// `candor compare RUN_A RUN_B...`: final answers of several runs side by side, with intervals and paired differences against the first.
#include "eval/compare.h"

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "cli/run_dir.h"
#include "core/fs.h"

namespace candor::cli {

namespace {

Result<RunAnswers> ReadRun(const std::string& folder) {
  RunDir run{folder};
  RunAnswers answers{std::filesystem::path(folder).lexically_normal().filename().string(), {}, {}};
  if (!FileExists(run.Answers("before")))
    return Fail(ErrorCode::kNotFound, "has no answers to compare", run.Answers("before"), "give folders of finished runs");
  CANDOR_ASSIGN(answers.before, ReadAnswers(run.Answers("before")));
  if (FileExists(run.Answers("after"))) {
    CANDOR_ASSIGN(answers.after, ReadAnswers(run.Answers("after")));
  }
  return answers;
}

}  // namespace

int RunCompare(int argc, const char* const* argv) {
  std::vector<std::string> folders;
  bool as_json = false;
  CLI::App app{
      "Compares runs on the same held-out prompts: accuracy and calibration with intervals, and paired differences against the first.",
      "candor compare"};
  app.add_option("runs", folders, "folders of runs; the first is the reference")->required()->expected(1, 64);
  app.add_flag("--json", as_json, "print one JSON object");
  app.footer("Example:\n  candor compare runs/cities runs/cities-rlcr runs/cities-rlvr");
  CLI11_PARSE(app, argc, argv);
  Status status = [&]() -> Status {
    std::vector<RunAnswers> runs;
    for (const std::string& folder : folders) {
      CANDOR_ASSIGN(RunAnswers run, ReadRun(folder));
      runs.push_back(std::move(run));
    }
    CANDOR_ASSIGN(nlohmann::json comparison, CompareRuns(runs));
    std::printf("%s", as_json ? (comparison.dump(1) + "\n").c_str() : ComparisonText(comparison).c_str());
    return {};
  }();
  if (status) return 0;
  std::fprintf(stderr, "candor compare: %s\n", status.error().Message().c_str());
  return static_cast<int>(ExitCodeOf(status.error().code));
}

}  // namespace candor::cli
