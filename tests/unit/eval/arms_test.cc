// Arms: runs gathered by their names, figures by hand, and what exchanging confidences destroys.
#include "eval/arms.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/rng.h"

namespace candor {
namespace {

using testing::HasSubstr;

AnswerRow ArmRow(const std::string& id, const std::string& answer, bool right, std::optional<double> confidence, int sample = -1) {
  AnswerRow row;
  row.dataset = "test", row.role = "held_out", row.prompt = id, row.answer = answer, row.confidence = confidence;
  row.label = right ? Label::kCorrect : Label::kWrong;
  row.greedy = sample < 0, row.sample = std::max(sample, 0);
  return row;
}

double Value(const nlohmann::json& arm, const char* key) { return arm["figures"][key]["value"].get<double>(); }

TEST(Arms, AreNamedByWhatStandsBeforeTheSeed) {
  EXPECT_EQ(ArmOf("urn-rlcr_seed-3"), "urn-rlcr");
  EXPECT_EQ(ArmOf("lr-1e-5_seed-12"), "lr-1e-5");
  EXPECT_EQ(ArmOf("seed-1"), "seed");
  EXPECT_EQ(ArmOf("urn-rlcr"), "urn-rlcr");
  EXPECT_EQ(ArmOf("urn-3"), "urn-3");
  EXPECT_EQ(ArmOf("reseed-3"), "reseed-3");
  EXPECT_EQ(ArmOf("12"), "12");
}

TEST(Arms, FiguresByHand) {
  const KnownChances chances = {{{"a", {{"r", .75}, {"g", .25}}}, {"b", {{"r", .4}, {"g", .6}}}}};
  RunAnswers run{"x_seed-1", {ArmRow("a", "r", true, .5), ArmRow("b", "r", false, .5)}, {}};
  // Given r with .75 (stated .9) and r with .4 (stated .6); two samples each.
  run.after = {ArmRow("a", "r", true, .9),     ArmRow("b", "r", false, .6),    ArmRow("a", "r", true, .9, 0),
               ArmRow("a", "g", false, .3, 1), ArmRow("b", "g", false, .5, 0), ArmRow("b", "g", false, .5, 1)};
  const nlohmann::json arms = *CompareArms({run}, &chances);
  ASSERT_EQ(arms["arms"].size(), 1u);
  const nlohmann::json& arm = arms["arms"][0];
  EXPECT_EQ(arm["name"], "x");
  EXPECT_NEAR(Value(arm, "accuracy"), .5, 1e-12);
  EXPECT_NEAR(Value(arm, "expected_accuracy"), (.75 + .4) / 2, 1e-12);
  EXPECT_NEAR(Value(arm, "bayes_accuracy"), (.75 + .6) / 2, 1e-12);
  EXPECT_NEAR(Value(arm, "brier"), (.01 + .36) / 2, 1e-12);
  EXPECT_NEAR(Value(arm, "drift"), (.4 + .1) / 2, 1e-12);
  EXPECT_NEAR(Value(arm, "pass_1"), .25, 1e-12);
  EXPECT_NEAR(Value(arm, "pass_k"), .5, 1e-12);
  EXPECT_NEAR(Value(arm, "entropy"), std::log(2.0) / 2, 1e-12);
  EXPECT_NEAR(Value(arm, "entropy_right"), std::log(2.0), 1e-12) << "a: two samples, two answers";
  EXPECT_NEAR(Value(arm, "entropy_wrong"), 0.0, 1e-12) << "b: one answer twice";
  EXPECT_NEAR(Value(arm, "coherence_excess"), .2 / 2, 1e-12);
  EXPECT_NEAR(Value(arm, "confidence_error"), (.15 + .2) / 2, 1e-12);
  EXPECT_NEAR(Value(arm, "worst_decile"), .2, 1e-12);
  EXPECT_NEAR(Value(arm, "regret"), (.15 * .15 + .2 * .2) / 4, 1e-12);
  EXPECT_NEAR(Value(arm, "abstention"), 0 - 1, 1e-12) << "a is rightly given, b wrongly";
  EXPECT_EQ(arm["deciles"][7]["n"], 1);
  EXPECT_NEAR(arm["deciles"][6]["mean_chance"].get<double>(), .4, 1e-12);
  EXPECT_THAT(ArmsText(arms), HasSubstr("0.575"));
  EXPECT_THAT(ArmsHtml(arms), HasSubstr("class=\"run\" d=\"M"));
  EXPECT_THAT(CompareArms({run}, nullptr)->dump(), testing::Not(HasSubstr("regret")));
  const KnownChances nothing;
  EXPECT_THAT(CompareArms({run}, &nothing).error().Message(), HasSubstr("`a`"));
}

// A calibrated run over 400 questions; runs differ by a shift of their confidences.
RunAnswers Calibrated(const std::string& name, double shift) {
  RunAnswers run{name, {}, {}};
  for (uint64_t i = 0; i < 400; ++i) {
    const double p = .1 + .1 * static_cast<double>(i % 9);
    run.before.push_back(ArmRow(std::to_string(i), "r", RandomUnit(5, RngStream::kSynthetic, i) < p, std::clamp(p + shift, 0.0, 1.0)));
  }
  return run;
}

TEST(Arms, ExchangedConfidencesDiscriminateNothing) {
  const nlohmann::json arms = *CompareArms({Calibrated("x_seed-1", 0)}, nullptr);
  EXPECT_GT(Value(arms["arms"][0], "dsc"), .04);
  EXPECT_LT(Value(arms["arms"][0], "dsc_shuffled"), .015);
}

TEST(Arms, ARunThatHasNotFinishedIsNoSeedOfItsArm) {
  RunAnswers finished = Calibrated("x_seed-1", 0);
  const RunAnswers unfinished = Calibrated("x_seed-2", 0);
  finished.after = finished.before;
  for (const auto& runs : {std::vector{finished, unfinished}, std::vector{unfinished, finished}}) {
    const auto arms = CompareArms(runs, nullptr);
    ASSERT_FALSE(arms);
    EXPECT_EQ(arms.error().where, "x_seed-2");
    EXPECT_THAT(arms.error().what, HasSubstr("x_seed-1"));
  }
  EXPECT_TRUE(CompareArms({unfinished}, nullptr)) << "an arm without RL";
}

TEST(Arms, IntervalsCoverSeedsAndQuestions) {
  const nlohmann::json alike = *CompareArms({Calibrated("x_seed-1", 0), Calibrated("x_seed-2", 0), Calibrated("y", 0)}, nullptr);
  const nlohmann::json apart = *CompareArms({Calibrated("x_seed-1", -.08), Calibrated("x_seed-2", .08)}, nullptr);
  ASSERT_EQ(alike["arms"].size(), 2u);
  EXPECT_EQ(alike["arms"][0]["runs"].size(), 2u);
  const auto width = [](const nlohmann::json& arms, const char* key) {
    const nlohmann::json& figure = arms["arms"][0]["figures"][key];
    return figure["high"].get<double>() - figure["low"].get<double>();
  };
  EXPECT_NEAR(width(alike, "accuracy"), 4 * .5 / 20, .04) << "400 questions, accuracy one half";
  EXPECT_GT(width(apart, "mean_confidence"), width(alike, "mean_confidence") * 2) << "seeds that differ widen it";
  EXPECT_EQ(apart["arms"][0]["figures"]["mean_confidence"]["by_run"].size(), 2u);
  std::vector<RunAnswers> runs = {Calibrated("x_seed-1", 1)};  // one says 1, the others 0
  for (int seed = 2; seed <= 6; ++seed) runs.push_back(Calibrated("x_seed-" + std::to_string(seed), -1));
  const nlohmann::json one = *CompareArms(runs, nullptr);
  EXPECT_EQ(one["arms"][0]["figures"]["mean_confidence"]["low"], 0.0) << "a share's interval stays within [0, 1]";
}

}  // namespace
}  // namespace candor
