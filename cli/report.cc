// `candor report RUN_DIR`: makes summary.json and report.html again from the run's answers and metrics.
#include <cstdio>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/results.h"
#include "core/fs.h"

namespace candor::cli {

int RunReport(int argc, const char* const* argv) {
  std::string folder;
  CommandLine app{
      "Writes RUN_DIR/report.html, one self-contained page (verdict, tables with intervals and baselines, reliability before and after, "
      "curves, slices, recipe), and summary.json.",
      "candor report"};
  app.Add("RUN_DIR", &folder, "the folder of a run").Required();
  app.AddFooter("Example:\n  candor report runs/cities");
  if (const auto code = app.Parse(argc, argv)) return *code;
  RunDir run{folder};
  Status status = [&]() -> Status {
    if (!FileExists(run.Recipe()))
      return Fail(ErrorCode::kNotFound, "this is not a run: it has no recipe.toml", folder,
                  "give the folder that `candor run` made, such as runs/<name>");
    if (!FileExists(run.Answers("before")))
      return Fail(ErrorCode::kNotFound, "there are no answers to report on yet", run.Answers("before"),
                  "let the run get past its first evaluation: candor run ... --resume");
    CANDOR_ASSIGN(Recipe recipe, LoadSettings({run.Recipe()}, {}));
    CANDOR_TRY(WriteResults(recipe, run));
    return PrintResults(run);
  }();
  return ExitWith("report", status);
}

}  // namespace candor::cli
