// Files survive what they promise to survive; random numbers are functions of their coordinates.
#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <vector>

#include "core/confidence.h"
#include "core/fs.h"
#include "core/rng.h"

namespace candor {
namespace {

TEST(Files, AtomicWriteReplacesAndLeavesNoTemporary) {
  std::string folder = ::testing::TempDir() + "/fs_atomic";
  std::filesystem::remove_all(folder);
  ASSERT_TRUE(MakeFolders(folder));
  ASSERT_TRUE(WriteFileAtomic(folder + "/a", "one"));
  ASSERT_TRUE(WriteFileAtomic(folder + "/a", "two"));
  EXPECT_EQ(*ReadFile(folder + "/a"), "two");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder), {}), 1);
  EXPECT_EQ(*HashFileHex(folder + "/a"), HashHex("two"));
}

TEST(Files, ReadRefusesFoldersMissingFilesAndTooMuch) {
  std::string folder = ::testing::TempDir() + "/fs_read";
  ASSERT_TRUE(MakeFolders(folder));
  EXPECT_EQ(ReadFile(folder).error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(ReadFile(folder + "/none").error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(WriteFileAtomic(folder + "/big", std::string(100, 'x')));
  EXPECT_EQ(ReadFile(folder + "/big", 99).error().code, ErrorCode::kInvalidInput);
}

TEST(Files, OnlyOneCreatesExclusively) {
  std::string path = ::testing::TempDir() + "/epoch.1";
  std::filesystem::remove(path);
  ASSERT_TRUE(CreateExclusive(path, "first"));
  EXPECT_EQ(CreateExclusive(path, "second").error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(*ReadFile(path), "first");
}

TEST(Confidence, HoldsOnlyProbabilities) {
  EXPECT_TRUE(Confidence::From(0.0));
  EXPECT_TRUE(Confidence::From(1.0));
  for (double bad : {-1e-9, 1.0 + 1e-9, std::nan(""), static_cast<double>(INFINITY)}) EXPECT_FALSE(Confidence::From(bad)) << bad;
  EXPECT_EQ(Confidence::From(0.3)->nano(), 300000000);
}

TEST(Random, IsAFunctionOfEveryCoordinate) {
  std::set<uint64_t> seen;
  for (uint64_t seed : {1, 2})
    for (uint64_t a : {0, 1})
      for (uint64_t b : {0, 1})
        for (uint64_t c : {0, 1}) seen.insert(RandomBits(seed, RngStream::kSample, a, b, c));
  EXPECT_EQ(seen.size(), 16u);
  EXPECT_EQ(RandomBits(1, RngStream::kSample, 2, 3), RandomBits(1, RngStream::kSample, 2, 3));
  EXPECT_NE(RandomBits(1, RngStream::kSample), RandomBits(1, RngStream::kOrder));
  double mean = 0;
  for (uint64_t i = 0; i < 10000; ++i) mean += RandomUnit(7, RngStream::kSample, i) / 10000;
  EXPECT_NEAR(mean, 0.5, 0.01);
}

TEST(Random, EpochOrderIsAPermutationThatChangesByEpoch) {
  std::vector<uint32_t> a(100), b(100);
  EpochOrder(1, 0, 100, a.data());
  EpochOrder(1, 1, 100, b.data());
  EXPECT_NE(a, b);
  EXPECT_EQ(std::set<uint32_t>(a.begin(), a.end()).size(), 100u);
}

}  // namespace
}  // namespace candor
