// Live progress looks ten times a second at a file that grows for hours: what was read is not read again.
#include "cli/metrics_tail.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

namespace candor::cli {
namespace {

// Bytes that this process has asked the system for so far.
uint64_t BytesRead() {
  std::ifstream io("/proc/self/io");
  std::string word;
  uint64_t bytes = 0;
  io >> word >> bytes;
  EXPECT_EQ(word, "rchar:");
  return bytes;
}

class MetricsTailTest : public ::testing::Test {
 protected:
  void Append(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  const std::string path_ = ::testing::TempDir() + ::testing::UnitTest::GetInstance()->current_test_info()->name() + ".jsonl";
};

TEST_F(MetricsTailTest, GivesWhatIsNewAndWaitsForTheRestOfATornLine) {
  MetricsTail tail(path_);
  EXPECT_TRUE(tail.Read().empty()) << "there is no file yet";
  Append("{\"step\":1,\"text\":\"x\"}\n{\"step\":2}\n{\"ste");
  std::vector<StepMetrics> lines = tail.Read();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], (StepMetrics{{"step", 1}})) << "numbers alone";
  EXPECT_TRUE(tail.Read().empty());
  Append("p\":3}\nnot JSON\n{\"step\":4}\n");
  lines = tail.Read();
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0].at("step"), 3);
  EXPECT_EQ(lines[1].at("step"), 4);
  std::filesystem::resize_file(path_, 0);
  Append("{\"step\":7}\n");
  lines = tail.Read();
  ASSERT_EQ(lines.size(), 1u) << "a file that was written anew";
  EXPECT_EQ(lines[0].at("step"), 7);
}

TEST_F(MetricsTailTest, ReadsNothingTwice) {
  const std::string filling(1000, 'x');
  for (int step = 1; step <= 4000; ++step) Append("{\"step\":" + std::to_string(step) + ",\"filling\":\"" + filling + "\"}\n");
  MetricsTail tail(path_);
  ASSERT_EQ(tail.Read().size(), 4000u);
  const uint64_t before = BytesRead();
  for (int look = 0; look < 20; ++look) EXPECT_TRUE(tail.Read().empty());
  Append("{\"step\":4001}\n");
  ASSERT_EQ(tail.Read().size(), 1u);
  EXPECT_LT(BytesRead() - before, uint64_t{100'000}) << "of a file of 4 MB";
}

}  // namespace
}  // namespace candor::cli
