// Answers against known chances: by hand, and what is refused.
#include "eval/truth.h"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "core/fs.h"

namespace candor {
namespace {

using testing::HasSubstr;

AnswerRow Row(const std::string& id, const std::string& answer, std::optional<double> confidence) {
  AnswerRow row;
  row.dataset = "test", row.prompt = id, row.answer = answer, row.confidence = confidence;
  return row;
}

const KnownChances kChances = {{{"a", {{"r", .75}, {"g", .25}, {"n", 0}}}, {"b", {{"r", .1}, {"g", .5}, {"n", 0}}}}};

TEST(Truth, ByHand) {
  auto got = MeasureAgainstTruth(kChances, {Row("a", "r", .7), Row("a", "g", .3), Row("b", "n", 0.0), Row("b", "?", std::nullopt)});
  ASSERT_TRUE(got) << got.error().Message();
  EXPECT_NEAR((*got)["accuracy"].get<double>(), (.75 + .25) / 4, 1e-12);
  EXPECT_NEAR((*got)["bayes_accuracy"].get<double>(), (.75 + .75 + .5 + .5) / 4, 1e-12);
  EXPECT_NEAR((*got)["surely_wrong"].get<double>(), .5, 1e-12);
  EXPECT_NEAR((*got)["confidence_error"].get<double>(), (.05 + .05 + 0) / 3, 1e-12);
  EXPECT_EQ((*got)["deciles"][7]["n"], 2);
  EXPECT_EQ((*got)["deciles"][5]["stated"], 1);
  EXPECT_TRUE((*got)["deciles"][0]["accuracy"].is_null());
  EXPECT_NEAR((*got)["slope"].get<double>(), std::log(.7 / .3) / std::log(3.0), 1e-9);
  (*got)["name"] = "mine";
  EXPECT_THAT(TruthText(nlohmann::json::array({*got})), HasSubstr("mine"));
}

TEST(Truth, AnAnswerIsComparedAsItIsGraded) {
  // A policy may write "<R." where exact_match reads r; what is left of "?" is no answer.
  EXPECT_EQ(ChanceOf({{"r", .75}, {"g", .25}}, "<R."), .75);
  EXPECT_EQ(ChanceOf({{"r", .75}, {"<r", .5}}, "<r"), .5) << "as written comes first";
  EXPECT_EQ(ChanceOf({{"r", .75}}, "?"), 0);
  EXPECT_EQ(PlainAnswer(" Côte d'Ivoire!"), "côtedivoire");
}

TEST(Truth, AnExtremisedConfidenceHasASlopeAboveOne) {
  KnownChances chances;
  std::vector<AnswerRow> rows;
  for (int i = 1; i < 10; ++i) {
    const double p = i / 10.0, logit = 2 * std::log(p / (1 - p));
    chances.by_row[std::to_string(i)] = {{"r", p}};
    rows.push_back(Row(std::to_string(i), "r", 1 / (1 + std::exp(-logit))));
  }
  EXPECT_NEAR((*MeasureAgainstTruth(chances, rows))["slope"].get<double>(), 2.0, 1e-9);
}

TEST(Truth, WhatIsNotKnownIsAnError) {
  EXPECT_THAT(MeasureAgainstTruth(kChances, {Row("c", "r", .5)}).error().Message(), HasSubstr("`c`"));
  const std::string path = testing::TempDir() + "/chances.jsonl";
  for (const char* line : {"{\"id\": \"a\"}", "{\"id\": \"a\", \"chance\": {\"r\": 1.5}}", "{\"chance\": {\"r\": 1}}", "[1]",
                           "{\"id\": \"a\", \"chance\": {}}"}) {
    ASSERT_TRUE(WriteFileAtomic(path, "{\"id\": \"b\", \"chance\": {\"r\": 0.5}}\n" + std::string(line) + "\n"));
    EXPECT_THAT(ReadChances(path).error().Message(), HasSubstr("chances.jsonl:2")) << line;
  }
  ASSERT_TRUE(WriteFileAtomic(path, "{\"id\": \"b\", \"chance\": {\"r\": 0.5}}\n"));
  EXPECT_EQ(ReadChances(path)->by_row.at("b").at("r"), .5);
}

}  // namespace
}  // namespace candor
