#include "core/signed_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <thread>

#include "core/epoch.h"
#include "core/fs.h"
#include "core/launch.h"

namespace candor {
namespace {

std::string Fresh(const std::string& name) {
  const std::string folder = ::testing::TempDir() + "/candor_" + name;
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  return folder;
}

TEST(SignedRecord, IsReadBackWithTheKeysOfItsRunOnly) {
  const std::string path = Fresh("signed") + "/done.json";
  const RunKeys keys = *MakeRunKeys(), others = *MakeRunKeys();
  EXPECT_EQ(ReadSignedRecord(path, "done", keys).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(WriteSignedRecord(path, "done", R"({"steps": 60})", keys));
  EXPECT_EQ(ReadSignedRecord(path, "done", keys).value(), R"({"steps":60})");
  EXPECT_EQ(ReadSignedRecord(path, "done", others).error().code, ErrorCode::kUnauthorized);
  EXPECT_EQ(ReadSignedRecord(path, "trainer done", keys).error().code, ErrorCode::kUnauthorized) << "one kind stands in for another";
}

TEST(SignedRecord, EveryChangedByteIsNoticed) {
  const std::string path = Fresh("signed_bytes") + "/done.json";
  const RunKeys keys = *MakeRunKeys();
  ASSERT_TRUE(WriteSignedRecord(path, "done", R"({"steps": 60})", keys));
  const std::string good = *ReadFile(path);
  for (size_t i = 0; i + 1 < good.size(); ++i) {  // the line's end is free
    std::string bad = good;
    bad[i] = static_cast<char>(bad[i] ^ 1);
    ASSERT_TRUE(WriteFileAtomic(path, bad, false));
    const Result<std::string> read = ReadSignedRecord(path, "done", keys);
    EXPECT_FALSE(read) << "byte " << i << ": " << bad;
  }
  ASSERT_TRUE(WriteFileAtomic(path, "[]", false));
  EXPECT_EQ(ReadSignedRecord(path, "done", keys).error().code, ErrorCode::kUnauthorized);
}

TEST(Epoch, OneOfManyTakesEachNumberAndTheOldOnesNotice) {
  const std::string folder = Fresh("epochs");
  std::vector<std::optional<Epoch>> epochs(8);
  {
    std::vector<std::jthread> takers;
    for (auto& epoch : epochs)
      takers.emplace_back([&] {
        auto taken = Epoch::Take(folder, "a test", "trainer.");
        if (taken) epoch = *taken;
      });
  }
  std::set<uint64_t> numbers;
  for (const auto& epoch : epochs) {
    ASSERT_TRUE(epoch);
    numbers.insert(epoch->number());
    EXPECT_EQ(epoch->CheckStillOurs().has_value(), epoch->number() == 8u);
  }
  EXPECT_EQ(numbers.size(), 8u);
  EXPECT_EQ(Epoch::Take(folder, "another", "job.")->number(), 1u) << "prefixes are apart";
}

TEST(Launch, OnlyALauncherMakesARank) {
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "PMI_RANK"}) ::unsetenv(name);
  ::setenv("SLURM_PROCID", "0", 1);  // every batch script has it
  EXPECT_FALSE(LauncherOfThisProcess());
  ::setenv("PMIX_RANK", "1", 1);
  EXPECT_EQ(LauncherOfThisProcess(), "srun --mpi=pmix");
  ::setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
  EXPECT_EQ(LauncherOfThisProcess(), "mpirun");
  for (const char* name : {"OMPI_COMM_WORLD_SIZE", "PMIX_RANK", "SLURM_PROCID"}) ::unsetenv(name);
}

// It is printed again before its code is known to fit: nesting of a megabyte once used up the stack.
TEST(SignedRecord, NestingIsRefusedBeforeItIsFollowed) {
  const std::string path = Fresh("signed_deep") + "/done.json";
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  ASSERT_TRUE(WriteFileAtomic(path, R"({"mac": "", "record": {"a": )" + deep + "}}"));
  EXPECT_EQ(ReadSignedRecord(path, "done", *MakeRunKeys()).error().code, ErrorCode::kUnauthorized);
}

}  // namespace
}  // namespace candor
