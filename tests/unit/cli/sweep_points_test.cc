// The points of a sweep: how lists are read, what points are called, and folders that hold something else.
#include "cli/sweep_points.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "cli/sweep_arms.h"
#include "core/fs.h"

namespace candor::cli {
namespace {

using testing::ElementsAre;

std::vector<std::string> NamesOf(const std::vector<std::string>& arguments) {
  auto plan = PlanSweep(arguments);
  EXPECT_TRUE(plan) << plan.error().Message();
  auto points = PointsOf(*plan, "runs/s");
  EXPECT_TRUE(points) << points.error().Message();
  std::vector<std::string> names;
  for (const SweepPoint& point : *points) names.push_back(point.name);
  return names;
}

std::string ErrorOf(const std::vector<std::string>& arguments) {
  auto plan = PlanSweep(arguments);
  if (!plan) return plan.error().Message();
  auto points = PointsOf(*plan, "runs/s");
  return points ? "" : points.error().Message();
}

TEST(SweepPoints, EveryCombinationHasANameOfItsOwn) {
  EXPECT_THAT(NamesOf({"r.toml", "trainer.lr=1e-5,2e-5", "seed=1,2", "trainer.steps=9"}),
              ElementsAre("lr-1e-5_seed-1", "lr-1e-5_seed-2", "lr-2e-5_seed-1", "lr-2e-5_seed-2"));
  EXPECT_THAT(NamesOf({"r.toml", "objective.0.weight=1,2", "objective.1.weight=3,4"}).front(), "objective.0.weight-1_objective.1.weight-3");
  EXPECT_THAT(NamesOf({"r.toml", "reward.filter=none,\"accuracy\""}), ElementsAre("filter-none", "filter-accuracy"));
}

TEST(SweepPoints, CommasInsideBracketsAndQuotesDoNotDivide) {
  EXPECT_THAT(ParseAxis("format.tags=['answer'],['think','answer']")->values, ElementsAre("['answer']", "['think','answer']"));
  EXPECT_THAT(ParseAxis("title=\"a, b\",'c'")->values, ElementsAre("\"a, b\"", "'c'"));
  EXPECT_THAT(ParseAxis("trainer.lr=1e-5")->values, ElementsAre("1e-5"));
  EXPECT_THAT(ParseAxis("eval=[{name=\"a\",n=1}]")->values.size(), 1u);
}

TEST(SweepPoints, OverridesHoldTheSettingsAndTheRunsName) {
  const SweepPlan plan = PlanSweep({"r.toml", "seed=1,2", "trainer.steps=9"}).value();
  const auto points = PointsOf(plan, "runs/s").value();
  EXPECT_EQ(points[1].folder, "runs/s/seed-2");
  EXPECT_THAT(OverridesOf(plan, points[1], "tiny"), ElementsAre("trainer.steps=9", "seed=2", "name=\"tiny.seed-2\""));
}

TEST(SweepPoints, WhatCannotBeSweptIsNamed) {
  EXPECT_THAT(ErrorOf({"r.toml", "trainer.steps=9"}), testing::HasSubstr("nothing varies"));
  EXPECT_THAT(ErrorOf({"seed=1,2"}), testing::HasSubstr("no recipe"));
  EXPECT_THAT(ErrorOf({"r.toml", "seed=1,2,"}), testing::HasSubstr("empty value"));
  EXPECT_THAT(ErrorOf({"r.toml", "seed=1,2,1"}), testing::HasSubstr("occurs twice"));
  EXPECT_THAT(ErrorOf({"r.toml", "seed=1,2", "seed=3,4"}), testing::HasSubstr("one list"));
  EXPECT_THAT(ErrorOf({"r.toml", "title='a b','a_b'"}), testing::HasSubstr("told apart"));
  std::string long_list = "seed=0";
  for (int i = 1; i < 40; ++i) long_list += "," + std::to_string(i);
  EXPECT_THAT(ErrorOf({"r.toml", long_list, "trainer.lr" + long_list.substr(4)}), testing::HasSubstr("more than 1000"));
}

// A recipe of few words, and the point of a sweep whose folder is there and holds no run yet.
struct OnePoint {
  explicit OnePoint(const std::string& name) {
    recipe.run.name = "a", recipe.run.model = "m";
    point.folder = testing::TempDir() + "/" + name;
    std::filesystem::create_directories(point.folder);
    std::filesystem::remove(stored());
  }
  std::string stored() const { return point.folder + "/recipe.toml"; }
  Recipe recipe;
  SweepPoint point;
};

TEST(SweepPoints, AFolderOfAnotherRecipeIsRefusedWithTheLine) {
  OnePoint one("candor_sweep_point");
  auto& [recipe, point] = one;
  ASSERT_TRUE(LookAtPoint(recipe, point));
  EXPECT_EQ(point.state, PointState::kWaiting);
  ASSERT_TRUE(WriteFileAtomic(one.stored(), ResolvedText(recipe)));
  ASSERT_TRUE(LookAtPoint(recipe, point));
  EXPECT_EQ(point.state, PointState::kInterrupted);
  recipe.trainer.group_size = 16;
  const Status other = LookAtPoint(recipe, point);
  ASSERT_FALSE(other);
  EXPECT_THAT(other.error().Message(), testing::HasSubstr("now `group_size = 16`, then `group_size = 4`"));
}

// As an earlier program wrote it, which did not have the key.
std::string Without(std::string text, const std::string& line) {
  const size_t at = text.find("\n" + line);
  EXPECT_NE(at, std::string::npos) << line;
  return text.erase(at, line.size() + 1);
}

TEST(SweepPoints, ARunOfAnEarlierProgramGoesOnWhereItsRecipeMeansTheSame) {
  OnePoint one("candor_sweep_earlier");
  auto& [recipe, point] = one;
  const std::string then = Without(ResolvedText(recipe), "group_size = 4");
  ASSERT_TRUE(WriteFileAtomic(one.stored(), then));
  EXPECT_TRUE(LookAtPoint(recipe, point)) << "a key at its default";
  EXPECT_EQ(AsWrittenNow(then), ResolvedText(recipe));
  recipe.trainer.group_size = 16;
  EXPECT_FALSE(LookAtPoint(recipe, point));
  EXPECT_EQ(AsWrittenNow("no = recipe = \n"), "no = recipe = \n");
}

std::string ArmsFileWith(const std::string& text) {
  const std::string folder = testing::TempDir() + "/candor_sweep_arms";
  std::filesystem::create_directories(folder);
  EXPECT_TRUE(WriteFileAtomic(folder + "/arms.toml", text));
  return folder + "/arms.toml";
}

TEST(SweepArms, EveryArmHasItsSeedsAndRoundsComeFirst) {
  const std::string path = ArmsFileWith(
      "title = \"T\"\nseeds = 2\n[[arm]]\nrecipe = \"a.toml\"\n[[arm]]\nrecipe = \"sub/b.toml\"\nname = \"c\"\nseeds = 1\nsettings = "
      "[\"x=1\"]\n");
  const SweepArms arms = PlanArms({path, "trainer.steps=9"}, {}).value();
  EXPECT_EQ(arms.title, "T");
  EXPECT_EQ(arms.name, "arms");
  std::vector<size_t> arm;
  std::vector<std::string> names;
  const auto points = PointsOf(arms, "runs/s", &arm).value();
  for (const SweepPoint& point : points) names.push_back(point.name);
  EXPECT_THAT(names, ElementsAre("a_seed-1", "c_seed-1", "a_seed-2"));
  EXPECT_THAT(arm, ElementsAre(0u, 1u, 0u));
  EXPECT_TRUE(arms.arms[1].plan.files[0].ends_with("candor_sweep_arms/sub/b.toml"));
  EXPECT_THAT(arms.arms[1].plan.overrides, ElementsAre("x=1", "trainer.steps=9"));
  const SweepArms one = PlanArms({path, "seed=7", "trainer.lr=1,2"}, {"c"}).value();
  ASSERT_EQ(one.arms.size(), 1u);
  std::vector<size_t> of_one;
  EXPECT_EQ(PointsOf(one, "runs/s", &of_one)->at(1).name, "c_lr-2_seed-7");
}

TEST(SweepArms, WhatIsWrongWithAFileOfArmsIsNamed) {
  const auto error = [](const std::string& text, const std::vector<std::string>& only = {}) {
    const auto arms = PlanArms({ArmsFileWith(text)}, only);
    return arms ? "" : arms.error().Message();
  };
  EXPECT_THAT(error("[[arm]]\nrecipe = \"a.toml\"\n[[arm]]\nrecipe = \"a.toml\"\n"), testing::HasSubstr("occur once: a"));
  EXPECT_THAT(error("[[arm]]\nname = \"a\"\n"), testing::HasSubstr("recipe"));
  EXPECT_THAT(error("seedz = 1\n[[arm]]\nrecipe = \"a.toml\"\n"), testing::HasSubstr("arms.toml:1"));
  EXPECT_THAT(error("[[arm]]\nrecipe = \"abc.toml\"\n", {"abd"}), testing::HasSubstr("did you mean abc?"));
  EXPECT_THAT(error("[[arm]]\nrecipe = \"abc.toml\"\n", {"abc", "zzzzzzzz"}), testing::HasSubstr("known here: abc"));
  EXPECT_THAT(error("[[arm]]\nrecipe = \"abc.toml\"\n", {"abc", "seed=1"}), testing::HasSubstr("stand before --only"));
  EXPECT_THAT(PlanArms({"r.toml", "seed=1,2"}, {"a"}).error().Message(), testing::HasSubstr("file of arms"));
}

}  // namespace
}  // namespace candor::cli
