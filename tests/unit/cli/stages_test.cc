// What a stage's place in the cache depends on: what was made of other rows or settings is never used again.
#include "cli/stages.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "core/fs.h"

namespace candor::cli {
namespace {

class Stages : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    ASSERT_TRUE(MakeFolders(folder_ + "/model/onnx"));  // Hugging Face folders have such
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/model/config.json", "{}"));
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/train.jsonl", "a"));
    recipe_.data.train.emplace_back();
    recipe_.data.train[0].path = folder_ + "/train.jsonl";
  }
  std::string Hash(const std::string& stage) {
    const auto hash = StageHash(stage, recipe_, folder_ + "/model", "");
    EXPECT_TRUE(hash) << hash.error().Message();
    return hash.value_or("");
  }
  const std::string folder_ = testing::TempDir() + "/candor_stages";
  Recipe recipe_;
};

TEST_F(Stages, AWarmUpDependsOnWhatItIsAskedAndHow) {
  const std::string before = Hash("warm_up"), sft = Hash("sft");
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/train.jsonl", "b"));
  const std::string rows = Hash("warm_up");
  EXPECT_NE(rows, before) << "without warm_up.rows it asks the training rows";
  recipe_.rollout.sampling.max_new_tokens *= 2;
  EXPECT_NE(Hash("warm_up"), rows);
  EXPECT_EQ(Hash("sft"), sft) << "neither matters there";
}

TEST_F(Stages, RowsMayBeAFolder) {
  ASSERT_TRUE(MakeFolders(folder_ + "/rows"));
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/rows/1.jsonl", "a"));
  recipe_.warm_up.rows = folder_ + "/rows";
  const std::string before = Hash("warm_up");
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/rows/2.jsonl", "b"));
  EXPECT_NE(Hash("warm_up"), before);
}

}  // namespace
}  // namespace candor::cli
