// `candor report RUN_DIR`: makes summary.json and report.html again from the run's answers and metrics.
#include <CLI/CLI.hpp>
#include <cstdio>

#include "cli/commands.h"
#include "cli/results.h"
#include "core/fs.h"

namespace candor::cli {

int RunReport(int argc, const char* const* argv) {
  std::string folder;
  CLI::App app{
      "Writes RUN_DIR/report.html, one self-contained page (verdict, tables with intervals and baselines, reliability before and after, "
      "curves, slices, recipe), and summary.json.",
      "candor report"};
  app.add_option("run_dir", folder, "the folder of a run")->required();
  app.footer("Example:\n  candor report runs/cities");
  CLI11_PARSE(app, argc, argv);
  RunDir run{folder};
  Status status = [&]() -> Status {
    if (!FileExists(run.Recipe()))
      return Fail(ErrorCode::kNotFound, "is not a run: it has no recipe.toml", folder,
                  "give the folder that `candor run` made, such as runs/<name>");
    if (!FileExists(run.Answers("before")))
      return Fail(ErrorCode::kNotFound, "has no answers to report on", run.Answers("before"),
                  "let the run get past its first evaluation: candor run ... --resume");
    CANDOR_ASSIGN(Recipe recipe, LoadRecipe({run.Recipe()}, {}));
    CANDOR_TRY(WriteResults(recipe, run));
    return PrintResults(run);
  }();
  if (status) return 0;
  std::fprintf(stderr, "candor report: %s\n", status.error().Message().c_str());
  return static_cast<int>(ExitCodeOf(status.error().code));
}

}  // namespace candor::cli
