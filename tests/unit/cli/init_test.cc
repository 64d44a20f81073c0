// candor init: what it writes is a recipe that loads, a verifier that is right, and a split in which no question is on both sides.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "cli/commands.h"
#include "cli/recipe_check.h"
#include "core/fs.h"
#include "tests/unit/cli/outcome.h"
#include "text/rows.h"

namespace candor::cli {
namespace {

const std::string kModel = std::string(CANDOR_SOURCE_DIR) + "/recipes/tiny/model";

class Init : public testing::Test {
 protected:
  void SetUp() override {
    base_ = testing::TempDir() + "/candor_init_" + testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::remove_all(base_);
    std::filesystem::create_directories(base_);
  }
  Outcome Run(const std::string& rows) {
    EXPECT_TRUE(WriteFileAtomic(base_ + "/rows.jsonl", rows));
    return RunCommand(RunInit, {"init", base_ + "/project", "--model", kModel, "--data", base_ + "/rows.jsonl"});
  }
  std::string base_;
};

std::string Questions(int questions) {
  std::string rows;
  for (int i = 0; i < questions; ++i)
    for (const char* repeat : {"a", "b"})
      rows += R"({"prompt": "What is )" + std::to_string(i) + R"( + 1?", "answer": [")" + std::to_string(i + 1) + R"("], "id": ")" +
              std::to_string(i) + repeat + "\"}\n";
  return rows;
}

TEST_F(Init, WritesWhatLoadsAndSplitsByQuestion) {
  const Outcome outcome = Run(Questions(40));
  ASSERT_EQ(outcome.code, 0) << outcome.out << outcome.err;
  const auto recipe = LoadRecipe({base_ + "/project/recipe.toml"}, {});
  ASSERT_TRUE(recipe) << recipe.error().Message();
  EXPECT_EQ(recipe->rollout.sampling.max_new_tokens, 32) << "the tiny model has 256 positions, and most are the prompt's";
  const Status inputs = CheckInputs(*recipe);
  EXPECT_TRUE(inputs) << inputs.error().Message();
  const auto train = ReadDataSet(base_ + "/project/train.jsonl", {}, {.answer = true});
  const auto test = ReadDataSet(base_ + "/project/test.jsonl", {}, {.answer = true});
  ASSERT_TRUE(train && test);
  EXPECT_EQ(test->rows.size(), 8u);
  EXPECT_EQ(train->rows.size() + test->rows.size(), 80u);
  std::set<std::string> trained;
  for (const DataRow& row : train->rows) trained.insert(row.prompt);
  for (const DataRow& row : test->rows) EXPECT_FALSE(trained.contains(row.prompt)) << row.prompt;
}

TEST_F(Init, OverwritesNothing) {
  ASSERT_EQ(Run(Questions(20)).code, 0);
  const Outcome again = Run(Questions(20));
  EXPECT_NE(again.code, 0);
  EXPECT_NE(again.err.find("not empty"), std::string::npos) << again.err;
}

// The placeholders of the recipe's template may stand in a name: filling them in once never ended.
TEST_F(Init, AFoldersNameMayHoldAPlaceholder) {
  base_ += "/@name@ @tokens@";
  std::filesystem::create_directories(base_);
  const Outcome outcome = Run(Questions(20));
  ASSERT_EQ(outcome.code, 0) << outcome.out << outcome.err;
  const auto recipe = LoadRecipe({base_ + "/project/recipe.toml"}, {});
  ASSERT_TRUE(recipe) << recipe.error().Message();
  EXPECT_TRUE(recipe->data.train.at(0).path.ends_with("/@name@ @tokens@/project/train.jsonl")) << recipe->data.train.at(0).path;
}

TEST_F(Init, RefusesAFileInTheFoldersPlace) {
  ASSERT_TRUE(WriteFileAtomic(base_ + "/project", "mine"));
  const Outcome outcome = Run(Questions(20));
  EXPECT_NE(outcome.code, 0);
  EXPECT_NE(outcome.err.find("no folder"), std::string::npos) << outcome.err;
  EXPECT_EQ(*ReadFile(base_ + "/project"), "mine");
}

TEST_F(Init, NamesABadRowAndTooFewRows) {
  const Outcome bad = Run(Questions(10) + "{\"prompt\": \"?\"}\n");
  EXPECT_NE(bad.code, 0);
  EXPECT_NE(bad.err.find("rows.jsonl:21"), std::string::npos) << bad.err;
  const Outcome few = Run(Questions(3));
  EXPECT_NE(few.code, 0);
  EXPECT_NE(few.err.find("at least 10"), std::string::npos) << few.err;
}

}  // namespace
}  // namespace candor::cli
