// Stored answers of a reference policy: rows keep what they had, a torn file is gone on with, and nothing is mixed.
#include "eval/baseline_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/fs.h"

namespace candor {
namespace {

class Baselines : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    for (int i = 0; i < 3; ++i) {
      DataRow row;
      row.json = R"({"id": "r)" + std::to_string(i) + R"(", "prompt": "echo", "answer": ["1"], "note": {"z": 1, "a": 2}})";
      row.where = "rows.jsonl:" + std::to_string(i + 1);
      rows_.rows.push_back(row);
    }
  }
  Result<BaselineFile> Open(const std::string& by = "m k=2") const { return BaselineFile::Open(path_, {"scores", by}, rows_); }
  std::string Part() const { return *ReadFile(path_ + ".part"); }
  std::string folder_ = testing::TempDir() + "/candor_baseline", path_ = folder_ + "/out.jsonl";
  DataSet rows_;
};

TEST_F(Baselines, ARowKeepsWhatItHadAndGainsItsScores) {
  Result<BaselineFile> file = Open();
  ASSERT_TRUE(file);
  ASSERT_TRUE(file->Append(rows_.rows[0], {1.0, 0.0}));
  ASSERT_TRUE(file->Append(rows_.rows[1], {}));
  ASSERT_TRUE(file->Append(rows_.rows[2], {1.0}));
  EXPECT_FALSE(FileExists(path_)) << "nobody may read it before it is whole";
  ASSERT_TRUE(file->Finish());
  std::ifstream in(path_);
  std::string line;
  std::getline(in, line);
  const auto json = nlohmann::json::parse(line);
  EXPECT_EQ(json["scores"], nlohmann::json({1.0, 0.0}));
  EXPECT_EQ(json["baseline_by"], "m k=2");
  EXPECT_EQ(json["note"]["z"], 1);
  EXPECT_NEAR(file->mean_score(), 2.0 / 3.0, 1e-12);
  EXPECT_EQ(file->rows_without_scores(), 1u);
  const auto again = Open();
  ASSERT_FALSE(again);
  EXPECT_NE(again.error().what.find("there already"), std::string::npos);
}

TEST_F(Baselines, AHalfWrittenFileIsGoneOnWithBehindItsLastWholeLine) {
  ASSERT_TRUE(Open()->Append(rows_.rows[0], {1.0, 0.0}));
  const std::string whole = Part();
  std::ofstream(path_ + ".part", std::ios::app) << R"({"id": "r1", "prompt": "ec)";
  Result<BaselineFile> file = Open();
  ASSERT_TRUE(file) << file.error().Message();
  EXPECT_EQ(file->done(), 1u);
  EXPECT_EQ(Part(), whole);
  EXPECT_NEAR(file->mean_score(), .5, 1e-12) << "the earlier attempt counts";
  ASSERT_TRUE(file->Append(rows_.rows[1], {0.0}));
  ASSERT_TRUE(file->Append(rows_.rows[2], {0.0}));
  EXPECT_TRUE(file->Finish());
}

TEST_F(Baselines, OtherSettingsOtherRowsAndDamageAreRefusedByLine) {
  ASSERT_TRUE(Open()->Append(rows_.rows[0], {1.0}));
  const auto refused = [&](Result<BaselineFile> file, const std::string& about) {
    ASSERT_FALSE(file) << about;
    EXPECT_NE(file.error().what.find(about), std::string::npos) << file.error().Message();
    EXPECT_NE(file.error().where.find("out.jsonl.part:1"), std::string::npos) << file.error().where;
    EXPECT_FALSE(file.error().fix.empty());
  };
  refused(Open("m k=4"), "other settings");
  refused(BaselineFile::Open(path_, {"others", "m k=2"}, rows_), "no list");
  std::swap(rows_.rows[0], rows_.rows[1]);
  refused(Open(), "not of the row at rows.jsonl:2");
  std::swap(rows_.rows[0], rows_.rows[1]);
  std::ofstream(path_ + ".part") << "not JSON\n";
  refused(Open(), "no list");
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  std::ofstream(path_ + ".part") << R"({"scores": [], "baseline_by": )" << deep << "}\n";
  refused(Open(), "nested too deeply");
}

// A path that is no UTF-8 may stand in what a file was made by.
TEST_F(Baselines, SettingsOfAnyBytesAreCompared) {
  ASSERT_TRUE(Open("models/\xff")->Append(rows_.rows[0], {1.0}));
  EXPECT_EQ(Open("models/\xff")->done(), 1u);
  const auto other = Open("models/\xfe k=4");
  ASSERT_FALSE(other);
  EXPECT_NE(other.error().what.find("other settings"), std::string::npos) << other.error().Message();
}

}  // namespace
}  // namespace candor
