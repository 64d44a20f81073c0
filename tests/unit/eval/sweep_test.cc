// A sweep's figures, its Pareto points against a naive twin, and its picture.
#include "eval/sweep.h"

#include <gmock/gmock.h>

#include <nlohmann/json.hpp>

#include "core/rng.h"

namespace candor {
namespace {

SweepPoint At(const std::string& name, double accuracy, double brier, PointState state = PointState::kFinished) {
  SweepPoint point;
  point.name = name, point.state = state, point.accuracy.value = accuracy, point.brier.value = brier;
  return point;
}

std::vector<std::string> Front(std::vector<SweepPoint> points) {
  MarkPareto(points);
  std::vector<std::string> names;
  for (const SweepPoint& point : points)
    if (point.pareto) names.push_back(point.name);
  return names;
}

TEST(Sweep, FiguresComeFromTheHeldOutSetAfterRl) {
  SweepPoint point;
  const auto summary = nlohmann::json::parse(R"({"before": {"held_out": {"n": 9, "accuracy": 0.1}}, "after": {"held_out": {"n": 200,
    "accuracy": 0.75, "accuracy_interval": [0.7, 0.8], "brier": 0.2, "brier_interval": [0.1, 0.3], "ece": null, "auroc": 0.6}}})");
  ReadFigures(summary, point);
  EXPECT_EQ(point.questions, 200);
  EXPECT_EQ(point.accuracy.value, 0.75);
  EXPECT_EQ(point.brier.high, 0.3);
  EXPECT_TRUE(std::isnan(point.ece.value));
  EXPECT_TRUE(std::isnan(point.auroc.low));
  nlohmann::json before = summary;
  before.erase("after");
  ReadFigures(before, point);
  EXPECT_EQ(point.accuracy.value, 0.1);
}

TEST(Sweep, AFrontKeepsWhatNothingBeats) {
  EXPECT_EQ(Front({At("a", .7, .20), At("b", .8, .25), At("c", .6, .21), At("d", .8, .30)}), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(Front({At("a", .7, .2), At("same", .7, .2)}), (std::vector<std::string>{"a", "same"}));  // neither is better
  EXPECT_EQ(Front({At("a", .7, .2), At("no confidence", .9, std::nan("")), At("half", .9, .1, PointState::kInterrupted)}),
            (std::vector<std::string>{"a"}));
}

TEST(Sweep, TheFrontEqualsItsNaiveTwin) {
  std::vector<SweepPoint> points;
  for (uint64_t i = 0; i < 60; ++i) {
    const auto draw = [&](uint64_t k) { return static_cast<double>(RandomBits(5, RngStream::kSynthetic, i, k) % 12) / 12.0; };
    points.push_back(At(std::to_string(i), draw(0), draw(1)));
  }
  MarkPareto(points);
  size_t front = 0;
  for (const SweepPoint& p : points) {
    bool beaten = false;
    for (const SweepPoint& q : points)
      beaten = beaten || (q.accuracy.value > p.accuracy.value && q.brier.value <= p.brier.value) ||
               (q.accuracy.value == p.accuracy.value && q.brier.value < p.brier.value);
    EXPECT_EQ(p.pareto, !beaten) << p.name;
    front += p.pareto ? 1 : 0;
  }
  EXPECT_GT(front, 0u);
  EXPECT_LT(front, 20u);
}

TEST(Sweep, ThePageHoldsEveryPointAndNothingFromOutside) {
  std::vector<SweepPoint> points{At("a<b", .7, .2), At("c", .6, .3), At("d", .5, .5, PointState::kWaiting)};
  points[0].accuracy.low = .65, points[0].accuracy.high = .75;
  MarkPareto(points);
  const std::string page = SweepHtml("Echo", points);
  EXPECT_THAT(page, testing::HasSubstr("a&lt;b"));
  EXPECT_THAT(page, testing::Not(testing::HasSubstr("a<b")));
  EXPECT_THAT(page, testing::HasSubstr("[0.650, 0.750]"));
  const auto count = [&](const std::string& what) {
    size_t n = 0;
    for (size_t at = page.find(what); at != std::string::npos; at = page.find(what, at + 1)) ++n;
    return n;
  };
  EXPECT_EQ(count("<circle class=\"pareto\""), 1u);
  EXPECT_EQ(count("<circle class=\"point\""), 1u);
  EXPECT_EQ(count("http"), 0u);
  EXPECT_EQ(count("<script"), 0u);
  EXPECT_EQ(count("nan"), 0u);
  EXPECT_THAT(SweepHtml("Echo", {points[2]}), testing::HasSubstr("No point has finished"));
  const auto sheet = SweepJson("Echo", points);
  EXPECT_EQ(sheet["points"].size(), 3u);
  EXPECT_EQ(sheet["points"][0]["pareto"], true);
  EXPECT_EQ(sheet["points"][2]["state"], "waiting");
}

// Damaged sheets and summaries once ended the process with an exception.
TEST(Sweep, WhatIsNoSheetTellsNothing) {
  std::vector<SweepPoint> points = {At("lr-1", .5, .2)};
  for (const char* text :
       {"[]", "3", R"({"points": 3})", R"({"points": [3, "lr-1"]})", R"({"points": [{"name": "lr-1", "seconds": "long"}]})",
        R"({"points": [{"name": 3, "seconds": 1}]})", "not JSON"})
    ReadSeconds(nlohmann::json::parse(text, nullptr, false), points);
  EXPECT_EQ(points[0].seconds, 0.0);
  ReadSeconds(nlohmann::json::parse(R"({"points": [{"name": "lr-1", "seconds": 2.5}]})"), points);
  EXPECT_EQ(points[0].seconds, 2.5);
  for (const char* text : {"[]", R"({"after": 3})", R"({"after": {"held_out": [1]}})", R"({"after": {"held_out": {"n": "many"}}})"}) {
    SweepPoint point;
    ReadFigures(nlohmann::json::parse(text), point);
    EXPECT_EQ(point.questions, 0) << text;
  }
}

}  // namespace
}  // namespace candor
