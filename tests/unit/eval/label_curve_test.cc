// Label efficiency: how many labels an evaluation had behind it, by hand, which evaluations are fitted beside, and what is drawn.
#include "eval/label_curve.h"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

namespace candor {
namespace {

using testing::HasSubstr;
using testing::Not;

MetricsOfStep StepLine(double step, double correct, double wrong) {
  return {{"step", step}, {"labels/correct", correct}, {"labels/wrong", wrong}, {"labels/unknown", 7}};
}
MetricsOfStep EvalLine(const std::string& name, double step, double brier) {
  return {{"step", step},
          {"calibration/" + name + "/n", 100},
          {"calibration/" + name + "/accuracy", 0.5},
          {"calibration/" + name + "/brier", brier},
          {"calibration/" + name + "/auroc", 0.7}};
}
std::vector<int64_t> LabelsOf(const std::vector<LabelPoint>& points) {
  std::vector<int64_t> labels;
  for (const LabelPoint& point : points) labels.push_back(point.labels);
  return labels;
}

TEST(LabelCurve, AnEvaluationHasTheLabelsOfTheStepsBeforeItBehindIt) {
  // Steps of 40 known labels (unknown ones are none); step 2 was done twice. Groups of 8 with one greedy answer: 45 labels a step.
  const std::vector<MetricsOfStep> metrics = {StepLine(1, 30, 10), StepLine(2, 5, 5), StepLine(2, 20, 20), StepLine(3, 40, 0),
                                              StepLine(4, 0, 40)};
  const std::vector<MetricsOfStep> evals = {EvalLine("dev", 0, .3), EvalLine("test", 0, .25), EvalLine("test", 2, .2),
                                            EvalLine("test", 4, .1)};
  const LabelCurve plain = CurveOfRun(metrics, evals, "test", {}).value();
  EXPECT_EQ(LabelsOf(plain.points), (std::vector<int64_t>{0, 80, 160}));
  const LabelCurve curve = CurveOfRun(metrics, evals, "test", {.before_rl = 1000, .greedy_per_sampled = 1.0 / 8}).value();
  EXPECT_EQ(LabelsOf(curve.points), (std::vector<int64_t>{1000, 1090, 1180}));
  EXPECT_EQ(curve.points[1].step, 2);
  EXPECT_DOUBLE_EQ(curve.points[1].brier, .2);
  EXPECT_DOUBLE_EQ(curve.points[2].auroc, .7);
}

TEST(LabelCurve, ASetThatWasNotAskedIsAnErrorThatSaysHow) {
  const auto missing = CurveOfRun({StepLine(1, 1, 1)}, {EvalLine("dev", 0, .3)}, "test", {});
  ASSERT_FALSE(missing.has_value());
  EXPECT_THAT(missing.error().Message(), HasSubstr("\"test\""));
  EXPECT_THAT(missing.error().fix, HasSubstr("every"));
}

std::vector<LabelPoint> Points(const std::vector<int64_t>& labels) {
  std::vector<LabelPoint> points;
  for (const int64_t count : labels) points.push_back({static_cast<int64_t>(points.size()), count, 10, .5, .2, .7});
  return points;
}

TEST(LabelCurve, FitsStandBesideTheFirstTheLastAndSomeBetween) {
  EXPECT_EQ(LabelsOf(SpreadOver(Points({0, 10, 20, 30}), 5)), (std::vector<int64_t>{10, 20, 30})) << "without labels nothing can be fitted";
  EXPECT_EQ(LabelsOf(SpreadOver(Points({0, 10, 20, 30, 40, 50, 60, 70, 80, 90}), 3)), (std::vector<int64_t>{10, 50, 90}));
  EXPECT_EQ(LabelsOf(SpreadOver(Points({0, 10, 10, 20}), 5)), (std::vector<int64_t>{10, 20})) << "each number of labels once";
  EXPECT_TRUE(SpreadOver(Points({0, 0}), 5).empty());
}

TEST(LabelCurve, IsATableAPictureAndASentence) {
  std::vector<LabelPoint> rl = Points({0, 100, 200}), fitted = Points({100, 200});
  fitted[1].brier = .15;
  for (LabelPoint& point : fitted) point.step = -1;
  const nlohmann::json all = LabelCurvesJson("<test>", {{"RL", rl}, {"Platt", fitted}});
  EXPECT_EQ(all["curves"][0]["points"][2]["step"], 2);
  EXPECT_FALSE(all["curves"][1]["points"][0].contains("step"));
  EXPECT_THAT(all["verdict"].get<std::string>(), HasSubstr("all 200 labels Platt has the least Brier score, 0.150"));
  EXPECT_THAT(LabelCurvesText(all), HasSubstr("Platt"));
  const std::string page = LabelCurvesHtml(all);
  EXPECT_THAT(page, HasSubstr("Brier score"));
  EXPECT_THAT(page, Not(HasSubstr("<test>"))) << "names are text, not markup";
  size_t curves = 0;
  for (size_t at = 0; (at = page.find("class=\"curve\"", at)) != std::string::npos; ++at) ++curves;
  EXPECT_EQ(curves, 4u) << "two methods in two pictures";
}

TEST(LabelCurve, WhatIsNotDefinedIsNoNumber) {
  std::vector<LabelPoint> none = Points({100});
  none[0].brier = none[0].auroc = NAN;
  const nlohmann::json all = LabelCurvesJson("test", {{"RL", none}});
  EXPECT_TRUE(all["curves"][0]["points"][0]["brier"].is_null());
  EXPECT_EQ(all["verdict"], "No method has a Brier score.");
  EXPECT_THAT(LabelCurvesHtml(all), Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace candor
