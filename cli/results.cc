#include "cli/results.h"

#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

#include "calibration/terminal_chart.h"
#include "cli/metrics_tail.h"
#include "cli/progress.h"
#include "core/fs.h"
#include "eval/report.h"
#include "eval/run_summary.h"
#include "eval/select.h"

namespace candor::cli {

namespace {

using nlohmann::json;

Result<RunAnswers> ReadRunAnswers(const std::string& name, const RunDir& run) {
  RunAnswers answers{name, {}, {}};
  CANDOR_ASSIGN(answers.before, ReadAnswers(run.Answers("before")));
  if (FileExists(run.Answers("warm_up"))) {
    CANDOR_ASSIGN(answers.warm_up, ReadAnswers(run.Answers("warm_up")));
  }
  if (FileExists(run.Answers("after"))) {
    CANDOR_ASSIGN(answers.after, ReadAnswers(run.Answers("after")));
  }
  return answers;
}

std::vector<StepMetrics> ReadSteps(const std::string& path) {
  std::vector<StepMetrics> steps;
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);)
    if (std::optional<StepMetrics> metrics = ParseStepLine(line)) steps.push_back(std::move(*metrics));
  return steps;
}

}  // namespace

Status WriteResults(Recipe& recipe, const RunDir& run) {
  if (!FileExists(run.Answers("before"))) return {};  // a recipe without [[eval]] has nothing to tell
  CANDOR_ASSIGN(RunAnswers answers, ReadRunAnswers(recipe.run.name, run));
  json summary = RunSummary(answers);
  summary["title"] = recipe.run.title;
  CANDOR_TRY(WriteFileAtomic(run.Summary(), summary.dump(1) + "\n"));
  ReportInput input{recipe.run.name,          recipe.run.title,    &summary, answers.before, answers.after,
                    ReadSteps(run.Metrics()), ResolvedText(recipe)};
  return WriteFileAtomic(run.Report(), ReportHtml(input));
}

Status PrintResults(const RunDir& run) {
  if (!FileExists(run.Summary())) {
    std::printf("finished: %s (the recipe names no [[eval]], so there is no table)\n", run.path.c_str());
    return {};
  }
  CANDOR_ASSIGN(std::string text, ReadFile(run.Summary()));
  json summary = json::parse(text, nullptr, false);
  if (!summary.is_object())
    return Fail(ErrorCode::kInvalidInput, "summary.json is not JSON", run.Summary(), "candor report makes it again");
  std::printf("\n%s", SummaryText(summary).c_str());
  const std::string when = FileExists(run.Answers("after")) ? "after" : "before";
  CANDOR_ASSIGN(std::vector<AnswerRow> rows, ReadAnswers(run.Answers(when)));
  const std::vector<calibration::Row> held_out = ToRows(Select(rows, {.role = "held_out", .greedy = true}));
  if (!calibration::PointsOf(held_out).empty())
    std::printf("\nReliability on the held-out set %s RL\n%s", when.c_str(), calibration::DrawReliability(held_out).c_str());
  std::printf("\nreport: %s\n", run.Report().c_str());
  return {};
}

}  // namespace candor::cli
