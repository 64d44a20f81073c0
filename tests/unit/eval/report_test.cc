// The result of a run in numbers and pictures: what the tables say, and axes that a person can read.
#include "eval/report.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "eval/compare.h"
#include "eval/run_summary.h"
#include "eval/step_charts.h"

namespace candor {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

std::vector<AnswerRow> Answers(const std::string& dataset, const std::string& role, int n, int without_confidence, double lift) {
  std::vector<AnswerRow> rows;
  for (int i = 0; i < n; ++i) {
    AnswerRow row;
    row.dataset = dataset, row.role = role, row.prompt = std::to_string(i), row.answer = "a" + std::to_string(i % 3);
    row.label = i % 2 == 0 ? Label::kCorrect : Label::kWrong;
    if (i >= without_confidence) row.confidence = i % 2 == 0 ? 0.5 + lift : 0.5 - lift;
    row.slices = {i % 4 < 2 ? "<rare>" : "common"};
    row.signals = {{"answer_prob", 0.3 + 0.001 * i}};
    rows.push_back(row);
  }
  return rows;
}

RunAnswers MakeRun(int without_confidence = 0) {
  RunAnswers run{"mine", Answers("test", "held_out", 60, without_confidence, 0.05),
                 Answers("test", "held_out", 60, without_confidence, 0.3)};
  for (const auto& [name, role] : {std::pair{"dev", "dev"}, std::pair{"far", "out_of_domain"}})
    for (auto* moment : {&run.before, &run.after}) {
      const auto more = Answers(name, role, 20, 0, 0.1);
      moment->insert(moment->end(), more.begin(), more.end());
    }
  return run;
}

TEST(RunSummary, ListsTheHeldOutSetFirstAndBeforeBesideAfter) {
  const nlohmann::json summary = RunSummary(MakeRun());
  EXPECT_THAT(SetNames(summary), ElementsAre("test", "far", "dev"));
  const std::string text = SummaryText(summary);
  EXPECT_LT(text.find("test, before RL"), text.find("test, after RL"));
  EXPECT_LT(text.find("test, after RL"), text.find("far, before RL"));
}

TEST(CompareRuns, SaysWhereARunHasNoAnswersAfterRlYet) {
  RunAnswers finished = MakeRun(), unfinished = MakeRun();
  unfinished.name = "theirs", unfinished.after.clear();
  const nlohmann::json comparison = CompareRuns({finished, unfinished}).value();
  EXPECT_EQ(comparison["runs"][0]["moment"], "after");
  EXPECT_EQ(comparison["runs"][1]["moment"], "before");
  const std::string text = ComparisonText(comparison);
  EXPECT_THAT(text, HasSubstr("theirs (before RL)"));
  EXPECT_THAT(text, Not(HasSubstr("mine (before RL)")));
}

// Accuracy is over all answers, so its interval must be as well: where the format failed often, that of the others lies elsewhere.
TEST(RunSummary, AnIntervalHoldsTheNumberItStandsBeside) {
  const nlohmann::json summary = RunSummary(MakeRun(40));
  const nlohmann::json& numbers = summary["after"]["held_out"];
  ASSERT_EQ(numbers["n"], 60);
  EXPECT_NEAR(numbers["format_ok"].get<double>(), 20.0 / 60.0, 1e-12);
  EXPECT_NEAR(numbers["accuracy"].get<double>(), 0.5, 1e-12);
  const double half = (numbers["accuracy_interval"][1].get<double>() - numbers["accuracy_interval"][0].get<double>()) / 2;
  EXPECT_NEAR(half, 1.96 * 0.5 / std::sqrt(60.0), 0.01) << "of 60 answers, not of the 20 with a confidence";
}

// A newcomer's model that does not hold the format: the words say so, and no number is made of nothing.
TEST(RunSummary, SaysThatTheFormatDoesNotHold) {
  const nlohmann::json summary = RunSummary(MakeRun(60));
  const std::string words = summary["verdict"].dump();
  EXPECT_THAT(words, HasSubstr("Only 0 % of the held-out answers hold the format"));
  EXPECT_THAT(words, HasSubstr("The Brier score cannot be compared"));
  EXPECT_THAT(words, Not(HasSubstr("nan")));
  EXPECT_THAT(RunSummary(MakeRun())["verdict"].dump(), Not(HasSubstr("hold the format")));
}

// What the warm-up did and what RL did after it are two claims.
TEST(RunSummary, TellsTheWarmUpFromRl) {
  RunAnswers run = MakeRun();
  EXPECT_FALSE(RunSummary(run).contains("warm_up"));
  run.warm_up = Answers("test", "held_out", 60, 0, 0.3);  // all that training gained
  const nlohmann::json summary = RunSummary(run);
  EXPECT_NEAR(summary["paired_after_warm_up"]["brier"]["delta"].get<double>(), 0.0, 1e-12);
  EXPECT_LT(summary["paired"]["brier"]["delta"].get<double>(), -0.1);
  const std::string text = SummaryText(summary);
  EXPECT_LT(text.find("test, before RL"), text.find("test, after the warm-up"));
  EXPECT_LT(text.find("test, after the warm-up"), text.find("test, after RL"));
  EXPECT_THAT(text, HasSubstr("The Brier score improved by warm-up and RL"));
  EXPECT_THAT(text, HasSubstr("RL after the warm-up: accuracy +0.000"));
}

TEST(Report, IsOnePageWithoutOutsideParts) {
  const RunAnswers run = MakeRun();
  const nlohmann::json summary = RunSummary(run);
  const std::vector<std::map<std::string, double>> steps = {{{"step", 1}, {"calibration/train/brier", 0.3}, {"optim/grad_norm", 1}},
                                                            {{"step", 2}, {"calibration/train/brier", 0.2}, {"optim/grad_norm", 2}}};
  const std::string html = ReportHtml({run.name, "A <title>", &summary, run.before, run.after, steps, "lr = 1 # a & b"});
  for (const char* part : {"Brier score", "Reliability, held out", "Risk and coverage", "test, before RL", "test, after RL", "&lt;rare&gt;",
                           "A &lt;title&gt;", "a &amp; b", "answer probability platt"})
    EXPECT_THAT(html, HasSubstr(part));
  for (const char* outside : {"<script", "<link", "src=", "href=", "<rare>", "nan", "inf,"}) EXPECT_THAT(html, Not(HasSubstr(outside)));
}

TEST(StepCharts, AxesAreRoundAndBeginAtZeroWhereTheyCan) {
  const auto axis = [](double low, double high) {
    const Axis a = AxisFor(low, high);
    EXPECT_LE(a.low, low);
    EXPECT_GE(a.high, high);
    const double ticks = (a.high - a.low) / a.step;
    EXPECT_NEAR(ticks, std::round(ticks), 1e-6);
    EXPECT_GE(ticks, 1.0 - 1e-6);
    EXPECT_LE(ticks, 7.0 + 1e-6);
    return std::vector<double>{a.low, a.high, a.step};
  };
  EXPECT_THAT(axis(1.1e-5, 0.786), ElementsAre(0.0, 0.8, 0.2));
  EXPECT_THAT(axis(0.0124, 0.85), ElementsAre(0.0, testing::DoubleNear(1.0, 1e-9), testing::DoubleNear(0.2, 1e-3)));
  axis(0.349, 0.875), axis(0.269, 0.384), axis(0, 0), axis(5, 5), axis(-3, 2), axis(1e-9, 2e-9), axis(1e6, 1.1e6);
  const double large = 1e6, larger = std::nextafter(large, 2e6);  // ticks a millionth of a rounding error apart would never end
  EXPECT_GT(AxisFor(large, larger).step, 1e-3);
}

TEST(StepCharts, TheSignedGapStandsAgainstTheEntropyAPointPerStep) {
  const auto step = [](double number, double entropy, double gap) {
    return std::map<std::string, double>{{"step", number}, {"entropy/all/mean", entropy}, {"calibration/train/signed_gap", gap}};
  };
  const auto circles = [](const std::string& html) {
    std::vector<std::string> found;
    for (size_t at = html.find("<circle"); at != std::string::npos; at = html.find("<circle", at + 1))
      found.push_back(html.substr(at, html.find("/>", at) - at));
    return found;
  };
  const auto points = circles(StepCharts({step(1, 2.0, -0.2), {{"step", 2}}, step(3, 1.0, 0.2)}));
  ASSERT_EQ(points.size(), 2u) << "a step without either has no point";
  // The axes go from 1 to 2 and from -0.2 to 0.2: the first step to the right and below, faint, the last to the left and above, full.
  EXPECT_THAT(points[0], HasSubstr("cx=\"310.0\" cy=\"150.0\""));
  EXPECT_THAT(points[0], HasSubstr("opacity=\"0.15\""));
  EXPECT_THAT(points[1], HasSubstr("cx=\"46.0\" cy=\"28.0\""));
  EXPECT_THAT(points[1], HasSubstr("opacity=\"1.00\""));
  EXPECT_TRUE(circles(StepCharts({step(1, 2.0, -0.2)})).empty()) << "one point is no course";
}

TEST(StepCharts, WithoutNumbersThereIsNothing) {
  EXPECT_EQ(StepCharts({}), "");
  EXPECT_EQ(StepCharts({{{"step", 1}}}), "");
  EXPECT_EQ(StepCharts({{{"step", 1}, {"calibration/train/brier", std::nan("")}}}), "");
}

}  // namespace
}  // namespace candor
