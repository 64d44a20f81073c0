// The [[objective]] list: what is refused, by name, and which tokens each objective reaches.
#include "trainer/objectives.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

ObjectiveOptions Make(const std::string& segment, const std::string& loss, const std::string& advantage = "group_mean") {
  ObjectiveOptions options;
  options.segment = segment, options.loss = loss, options.advantage = advantage;
  return options;
}

std::string ErrorOf(const std::vector<ObjectiveOptions>& options) {
  auto result = CheckObjectives(options);
  return result ? "" : result.error().Message();
}

constexpr const char* kRecipe = R"(
[[objective]]
channel = "accuracy"
segment = "answer"
loss = "policy_gradient"
advantage = "group_mean"
weight = 1.0
[[objective]]
channel = "accuracy"
segment = "slot"
loss = "squared_error"
target = 1.0
weight = 0.03
)";

TEST(Objectives, TheRecipeOfTheArchitectureBinds) {
  std::vector<ObjectiveOptions> options;
  OptionTable table;
  Declare(table, options);
  RecipeSource source;
  ASSERT_TRUE(source.AddText(kRecipe, "recipe"));
  ASSERT_TRUE(source.Bind(table));
  auto objectives = CheckObjectives(options);
  ASSERT_TRUE(objectives);
  ASSERT_EQ(objectives->size(), 2u);
  EXPECT_TRUE((*objectives)[0].Reaches(Origin::kPolicy, Segment::kAnswer));
  EXPECT_FALSE((*objectives)[0].Reaches(Origin::kEnvironment, Segment::kAnswer));
  EXPECT_FALSE((*objectives)[0].Reaches(Origin::kPolicy, Segment::kReasoning));
  EXPECT_TRUE((*objectives)[1].TrainsSlot());
  EXPECT_DOUBLE_EQ((*objectives)[1].weight, 0.03);
}

TEST(Objectives, NoPolicyGradientReachesASlot) {
  auto all = CheckObjectives({Make("all", "policy_gradient")}).value()[0];
  EXPECT_TRUE(all.Reaches(Origin::kPolicy, Segment::kNone));
  EXPECT_FALSE(all.Reaches(Origin::kPolicy, Segment::kSlot));
  auto slot = CheckObjectives({Make("slot", "squared_error")}).value()[0];
  EXPECT_FALSE(slot.Reaches(Origin::kPolicy, Segment::kSlot));
}

TEST(Objectives, RefusalsNameTheObjective) {
  EXPECT_NE(ErrorOf({}).find("[[objective]]"), std::string::npos);
  EXPECT_NE(ErrorOf({Make("all", "policy_gradient"), Make("slot", "policy_gradient")}).find("objective 2"), std::string::npos);
  EXPECT_NE(ErrorOf({Make("answer", "squared_error")}).find("slot"), std::string::npos);
  EXPECT_EQ(ErrorOf({Make("all", "preference")}), "");
  EXPECT_NE(ErrorOf({Make("slot", "preference")}).find("slot"), std::string::npos);
  EXPECT_EQ(ErrorOf({Make("all", "policy_gradient", "contrastive_baseline")}), "");
  EXPECT_NE(ErrorOf({Make("all", "policy_gradient", "contrastive")}).find("unknown advantage"), std::string::npos);
  ObjectiveOptions bad_channel;
  bad_channel.channel = "accuracy +";
  EXPECT_NE(ErrorOf({bad_channel}), "");
  EXPECT_EQ(ErrorOf({Make("all", "policy_gradient")}), "");
}

TEST(Objectives, WeightsFollowTheirSchedules) {
  ObjectiveOptions accuracy = Make("answer", "policy_gradient"), brier = Make("all", "policy_gradient"),
                   slot = Make("slot", "squared_error");
  brier.channel = "brier", brier.weight = 0.5, brier.weight_schedule = "match_std", brier.weight_max = 3.0;
  slot.weight = 0.0, slot.weight_schedule = "ramp", slot.weight_to = 2.0;
  std::vector<Objective> objectives = CheckObjectives({accuracy, brier, slot}, 11).value();
  EXPECT_EQ(WithAccuracy(objectives).size(), 4u);
  EXPECT_EQ(WithAccuracy(objectives).back().channel.text(), "accuracy");
  SetWeights(0, {0.4, 0.1, 0.4, 0.4}, 0.4, objectives);
  EXPECT_EQ(objectives[0].weight, 1.0);
  EXPECT_DOUBLE_EQ(objectives[1].weight, 2.0);  // 2.0 * 0.1 = 0.5 * 0.4
  EXPECT_EQ(objectives[2].weight, 0.0);
  SetWeights(5, {0.4, 0.01, 0.4, 0.4}, 0.4, objectives);
  EXPECT_EQ(objectives[1].weight, 3.0);
  EXPECT_EQ(objectives[2].weight, 1.0);
  SetWeights(10, {0.4, 0.4, 0.4, 0.4}, 0.4, objectives);  // the last of 11 steps
  EXPECT_DOUBLE_EQ(objectives[1].weight, 0.5);
  EXPECT_EQ(objectives[2].weight, 2.0);
  brier.advantage = "batch_std";
  EXPECT_NE(ErrorOf({accuracy, brier}).find("match_std"), std::string::npos);
  slot.weight_schedule = "match_std";
  EXPECT_NE(ErrorOf({slot}).find("match_std"), std::string::npos);
}

TEST(Objectives, DiscrepancyWarmsUp) {
  ObjectiveOptions options = Make("answer", "policy_gradient");
  options.discrepancy = 0.25, options.discrepancy_steps = 30;
  std::vector<Objective> objectives = CheckObjectives({options}).value();
  EXPECT_EQ(objectives[0].kappa, 0.0);
  for (const auto& [steps_done, kappa] : {std::pair{0, 0.0}, {15, 0.125}, {30, 0.25}, {300, 0.25}}) {
    SetWeights(steps_done, {0.4, 0.4}, 0.4, objectives);
    EXPECT_DOUBLE_EQ(objectives[0].kappa, kappa) << steps_done;
  }
  options.discrepancy_steps = 0;
  EXPECT_EQ(CheckObjectives({options}).value()[0].kappa, 0.25);
}

TEST(Options, TheDefaultsBindToThemselves) {
  TrainerOptions trainer;
  SftOptions sft;
  OptionTable table;
  Declare(table, trainer);
  Declare(table, sft);
  trainer.schedule.lr = 3e-5, sft.slot_weight = 0.25;
  std::string text = ToToml(table);
  trainer.schedule.lr = 0, sft.slot_weight = 0;
  RecipeSource source;
  ASSERT_TRUE(source.AddText(text, "defaults"));
  Status bound = source.Bind(table);
  ASSERT_TRUE(bound) << bound.error().Message();
  EXPECT_DOUBLE_EQ(trainer.schedule.lr, 3e-5);
  EXPECT_DOUBLE_EQ(sft.slot_weight, 0.25);
}

}  // namespace
}  // namespace candor
