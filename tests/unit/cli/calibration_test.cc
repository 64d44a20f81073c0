// candor calibration: anybody's rows, the answers that `candor eval` writes among them, and the JSON that others build upon.
#include <gmock/gmock.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "cli/commands.h"
#include "core/fs.h"
#include "core/result.h"
#include "eval/answers.h"
#include "tests/unit/cli/outcome.h"

namespace candor::cli {
namespace {

using nlohmann::json;
using testing::HasSubstr;

Outcome Measure(const std::string& rows, const std::vector<std::string>& options = {}) {
  const std::string path = testing::TempDir() + "/candor_calibration.jsonl";
  EXPECT_TRUE(WriteFileAtomic(path, rows));
  std::vector<std::string> words = {"calibration", path};
  words.insert(words.end(), options.begin(), options.end());
  return RunCommand(RunCalibration, words);
}

std::string Rows(int n) {
  std::string rows;
  for (int i = 0; i < n; ++i)
    rows += json{{"confidence", (i % 10) / 10.0 + 0.05}, {"correct", i % 3 != 0}, {"prompt", "q" + std::to_string(i)}}.dump() + "\n";
  return rows;
}

TEST(Calibration, JsonHasTheKeysThatOthersBuildUpon) {
  const Outcome outcome = Measure(Rows(60), {"--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json all = json::parse(outcome.out);
  for (const char* key :
       {"n", "accuracy", "mean_confidence", "signed_gap", "oce", "uce", "smooth_ece", "brier", "nll", "auroc", "aurc", "augrc"})
    EXPECT_TRUE(all.at(key).is_number()) << key;
  for (const char* key : {"ece", "ece_floor"})
    for (const char* bins : {"10", "15", "20"}) EXPECT_TRUE(all.at(key).at(bins).is_number()) << key << bins;
  for (const char* bins : {"10", "15"})
    for (const char* key : {"reliability", "resolution", "uncertainty"}) EXPECT_TRUE(all.at("murphy").at(bins).at(key).is_number()) << key;
  for (const char* key : {"mcb", "dsc", "unc"}) EXPECT_TRUE(all.at("corp").at(key).is_number()) << key;
}

// The answers of an evaluation: slices are lists, and an answer that could not be graded has no "correct".
TEST(Calibration, ReadsWhatEvalWrites) {
  AnswerRow right;
  right.dataset = "test", right.role = "held_out", right.prompt = "1", right.label = Label::kCorrect, right.confidence = 0.7;
  right.slices = {"big", "europe"};
  AnswerRow wrong = right, unknown = right;
  wrong.prompt = "2", wrong.label = Label::kWrong, wrong.slices = {"big"};
  unknown.prompt = "3", unknown.label = Label::kUnknown;
  const std::string path = testing::TempDir() + "/candor_answers.jsonl";
  ASSERT_TRUE(WriteAnswers(path, {right, wrong, unknown}));
  const Outcome outcome = RunCommand(RunCalibration, {"calibration", path, "--json"});
  ASSERT_EQ(outcome.code, 0) << outcome.err;
  const json all = json::parse(outcome.out);
  EXPECT_EQ(all.at("n"), 2) << "unknown is not wrong";
  EXPECT_EQ(all.at("accuracy"), 0.5);
  EXPECT_EQ(all.at("slices").at("big").at("n"), 2);
  EXPECT_EQ(all.at("slices").at("europe").at("n"), 1);
  EXPECT_THAT(outcome.err, HasSubstr("1 rows are left out: their label is unknown"));
}

TEST(Calibration, IntervalsStayWhereTheirQuantityLives) {
  const json two = json::parse(Measure("{\"confidence\": 0.5, \"correct\": 1}\n{\"confidence\": 0.4, \"correct\": 0}\n", {"--json"}).out);
  EXPECT_EQ(two.at("intervals").at("accuracy"), json::array({0.0, 1.0}));
  EXPECT_EQ(two.at("intervals").at("mean_confidence").at(0), 0.0);
  EXPECT_EQ(two.at("intervals").at("signed_gap"), json::array({-1.0, 1.0}));
  // Three wrong answers of three are no proof that the accuracy is 0.
  const json none = json::parse(Measure("{\"confidence\": 0.5, \"correct\": 0}\n{\"confidence\": 0.4, \"correct\": 0}\n"
                                        "{\"confidence\": 0.4, \"correct\": 0}\n",
                                        {"--json"})
                                    .out);
  EXPECT_EQ(none.at("intervals").at("accuracy").at(0), 0.0);
  EXPECT_GT(none.at("intervals").at("accuracy").at(1).get<double>(), 0.5);
}

TEST(Calibration, NamesTheRowAndKeepsTheExitCodes) {
  const Outcome bad = Measure(Rows(2) + "{\"confidence\": NaN, \"correct\": 1}\n");
  EXPECT_EQ(bad.code, static_cast<int>(ExitCode::kInvalidInput));
  EXPECT_THAT(bad.err, HasSubstr("candor_calibration.jsonl:3"));
  const Outcome option = RunCommand(RunCalibration, {"calibration", "x.jsonl", "--jsn"});
  EXPECT_EQ(option.code, static_cast<int>(ExitCode::kUsage));
  EXPECT_THAT(option.err, HasSubstr("did you mean --json?"));
  EXPECT_EQ(RunCommand(RunCalibration, {"calibration"}).code, static_cast<int>(ExitCode::kUsage));
  EXPECT_EQ(RunCommand(RunCalibration, {"calibration", "--help"}).code, 0);
}

}  // namespace
}  // namespace candor::cli
