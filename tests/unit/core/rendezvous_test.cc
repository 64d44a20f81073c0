#include "core/rendezvous.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

namespace candor {
namespace {

class Rendezvous : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/candor_rendezvous";
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  std::string folder_;
};

TEST_F(Rendezvous, TheNewestIncarnationIsFound) {
  EXPECT_EQ(FindCoordinator(folder_).error().code, ErrorCode::kUnavailable);
  for (uint64_t epoch : {9u, 10u, 2u}) ASSERT_TRUE(AnnounceCoordinator(folder_, {epoch, "tcp://host:" + std::to_string(epoch)}, ""));
  std::ofstream(folder_ + "/endpoint.11.tmp.3") << "half a";  // a write that is not finished
  const auto found = FindCoordinator(folder_);
  ASSERT_TRUE(found) << found.error().Message();
  EXPECT_EQ(found->epoch, 10u);
  EXPECT_EQ(found->endpoint, "tcp://host:10");
  std::ofstream(folder_ + "/endpoint.12") << "{}";
  EXPECT_THAT(FindCoordinator(folder_).error().Message(), ::testing::HasSubstr("endpoint.12"));
}

TEST_F(Rendezvous, AFinishedRunIsFinishedForSoManySteps) {
  EXPECT_FALSE(IsRunFinished(folder_, 0));
  ASSERT_TRUE(RecordRunFinished(folder_, 60));
  EXPECT_TRUE(IsRunFinished(folder_, 60));
  EXPECT_FALSE(IsRunFinished(folder_, 80));  // a resume that asks for more
  std::ofstream(folder_ + "/rl-finished.json") << "garbage";
  EXPECT_FALSE(IsRunFinished(folder_, 1));
}

}  // namespace
}  // namespace candor
