// `candor compare RUN_A RUN_B...`: final answers of several runs side by side, with intervals and paired differences against the first;
// with --arm NAME=RUN,RUN.. arms of several seeds each.
#include "eval/compare.h"

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "cli/command_line.h"
#include "cli/commands.h"
#include "cli/run_dir.h"
#include "core/fs.h"
#include "eval/arms.h"
#include "eval/paired_arms.h"
#include "eval/select.h"
#include "eval/truth.h"

namespace candor::cli {

namespace {

// A run's folder without its parents; the whole path where two would read alike.
std::string NameOf(const std::string& folder, const std::vector<std::string>& folders) {
  const auto last = [](const std::string& path) {
    const std::filesystem::path whole = std::filesystem::path(path).lexically_normal();
    return (whole.has_filename() ? whole : whole.parent_path()).filename().string();
  };
  const auto alike = std::count_if(folders.begin(), folders.end(), [&](const std::string& other) { return last(other) == last(folder); });
  return alike == 1 ? last(folder) : folder;
}

Result<RunAnswers> ReadRun(const std::string& folder, const std::vector<std::string>& folders) {
  RunDir run{folder};
  RunAnswers answers{NameOf(folder, folders), {}, {}};
  if (!FileExists(run.Answers("before")))
    return Fail(ErrorCode::kNotFound, "there are no answers to compare", run.Answers("before"), "give folders of finished runs");
  CANDOR_ASSIGN(answers.before, ReadAnswers(run.Answers("before")));
  if (FileExists(run.Answers("after"))) {
    CANDOR_ASSIGN(answers.after, ReadAnswers(run.Answers("after")));
  }
  return answers;
}

Status AddTruth(const std::string& file, const std::vector<RunAnswers>& runs, nlohmann::json& comparison) {
  CANDOR_ASSIGN(const KnownChances chances, ReadChances(file));
  comparison["truth"] = nlohmann::json::array();
  for (const RunAnswers& run : runs) {
    const std::vector<AnswerRow>& answers = run.after.empty() ? run.before : run.after;
    CANDOR_ASSIGN(nlohmann::json measured, MeasureAgainstTruth(chances, Select(answers, {.role = "held_out", .greedy = true})));
    measured["name"] = run.name;
    comparison["truth"].push_back(std::move(measured));
  }
  return {};
}

// "NAME=RUN,RUN..": one run for each seed.
Result<Arm> ReadArm(const std::string& text) {
  const size_t equals = text.find('=');
  if (equals == std::string::npos || equals == 0 || equals + 1 == text.size())
    return Fail(ErrorCode::kInvalidInput, "an arm is a name and its runs", text, "--arm NAME=RUN,RUN,RUN");
  Arm arm{text.substr(0, equals), {}};
  std::istringstream runs(text.substr(equals + 1));
  for (std::string folder; std::getline(runs, folder, ',');) {
    CANDOR_ASSIGN(const RunAnswers answers, ReadRun(folder, {folder}));
    arm.answers_by_seed.push_back(Select(answers.after.empty() ? answers.before : answers.after, {.role = "held_out", .greedy = true}));
  }
  return arm;
}

Status CompareGivenArms(const std::vector<std::string>& given, bool as_json) {
  std::vector<Arm> arms;
  std::vector<ArmPair> pairs;
  for (const std::string& text : given) {
    CANDOR_ASSIGN(Arm arm, ReadArm(text));
    if (!arms.empty()) pairs.push_back({arms.size(), 0});
    arms.push_back(std::move(arm));
  }
  CANDOR_ASSIGN(const nlohmann::json comparison, ComparePairedArms(arms, pairs));
  std::printf("%s", as_json ? (comparison.dump(1) + "\n").c_str() : PairedArmsText(comparison).c_str());
  return {};
}

Status PrintArms(const std::vector<RunAnswers>& runs, const std::string& truth, const std::string& page, bool as_json) {
  KnownChances chances;
  if (!truth.empty()) {
    CANDOR_ASSIGN(chances, ReadChances(truth));
  }
  CANDOR_ASSIGN(const nlohmann::json arms, CompareArms(runs, truth.empty() ? nullptr : &chances));
  if (!page.empty()) CANDOR_TRY(WriteFileAtomic(page, ArmsHtml(arms)));
  std::printf("%s", as_json ? (arms.dump(1) + "\n").c_str() : ArmsText(arms).c_str());
  return {};
}

}  // namespace

int RunCompare(int argc, const char* const* argv) {
  std::vector<std::string> folders;
  bool as_json = false;
  CommandLine app{
      "Compares runs on the same held-out prompts: accuracy and calibration with intervals, and paired differences against the first.",
      "candor compare"};
  const Argument run_dirs = app.Add("RUN_DIR", &folders, "folders of runs; the first is the reference");
  std::vector<std::string> arms;
  Argument by_arm = app.Add("--arm", &arms,
                            "NAME=RUN,RUN,..: an arm and its runs, one for each seed; the first arm is the reference. Differences are "
                            "bootstrapped over questions and seeds and adjusted by Holm");
  by_arm.Excludes(run_dirs);
  std::string truth;
  app.Add("--truth", &truth, "the held-out rows, each with `chance`: the probability of every answer; measures the distance to it");
  bool seeds = false;
  app.AddFlag("--seeds", &seeds,
              "runs whose names differ in their seed-N alone are one arm: figures with intervals over seeds and questions");
  std::string page;
  app.Add("--html", &page, "with --seeds: also writes the tables and a picture of every arm to this file");
  app.AddFlag("--json", &as_json, "print one JSON object");
  app.AddFooter(
      "Example:\n  candor compare runs/cities runs/cities-rlcr runs/cities-rlvr\n  candor compare --truth data/urn/test.jsonl runs/urn-*\n"
      "  candor compare --seeds --truth data/urn/test.jsonl runs/sweep-urn-arms/urn-*\n"
      "  candor compare --arm rlvr=runs/a1,runs/a2,runs/a3 --arm rlcr=runs/b1,runs/b2,runs/b3");
  if (const auto code = app.Parse(argc, argv)) return *code;
  if (by_arm.Given()) return ExitWith("compare", CompareGivenArms(arms, as_json));
  if (folders.empty())
    return ReportFailure("compare",
                         Error{ErrorCode::kInvalidInput, "there is nothing to compare", "", "name the folders of runs, or --arm"});
  Status status = [&]() -> Status {
    std::vector<RunAnswers> runs;
    for (const std::string& folder : folders) {
      CANDOR_ASSIGN(RunAnswers run, ReadRun(folder, folders));
      runs.push_back(std::move(run));
    }
    if (!page.empty() && !seeds) return Fail(ErrorCode::kInvalidInput, "--html draws arms", page, "add --seeds");
    if (seeds) return PrintArms(runs, truth, page, as_json);
    CANDOR_ASSIGN(nlohmann::json comparison, CompareRuns(runs));
    if (!truth.empty()) CANDOR_TRY(AddTruth(truth, runs, comparison));
    std::printf("%s", as_json ? (comparison.dump(1) + "\n").c_str() : ComparisonText(comparison).c_str());
    if (!truth.empty() && !as_json) std::printf("%s", TruthText(comparison["truth"]).c_str());
    return {};
  }();
  return ExitWith("compare", status);
}

}  // namespace candor::cli
