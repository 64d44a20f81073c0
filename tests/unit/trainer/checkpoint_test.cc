// Checkpoints: bit-equal at the same plan and at any other, damaged ones are passed over, old ones go; published weights are what the
// policy holds.
#include "trainer/checkpoint.h"

#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <fstream>

#include "core/fs.h"
#include "filled_policy.h"

namespace candor {
namespace {

using tiny::OnRanks;

using filled::Fill;
using filled::Holds;

void Write(const std::string& folder, int ranks, Sharding sharding, const std::vector<int64_t>& steps, int64_t keep = 9) {
  OnRanks<int>(ranks, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {sharding, DType::kBf16, true}, collective);
    for (int64_t step : steps) {
      Fill(policy, static_cast<float>(step));
      auto written = WriteCheckpoint(policy, folder, step, keep);
      EXPECT_TRUE(written) << written.error().Message();
    }
    return 0;
  });
}

// The step that was loaded; -1: none, -2: an error, -3: loaded but other numbers.
int64_t Load(const std::string& folder, int ranks, Sharding sharding) {
  auto steps = OnRanks<int64_t>(ranks, [&](Collective& collective) -> int64_t {
    ShardedPolicy policy(tiny::Config(), {sharding, DType::kBf16, true}, collective);
    auto loaded = LoadNewestCheckpoint(policy, folder);
    if (!loaded) return -2;
    if (!*loaded) return -1;
    return Holds(policy, static_cast<float>((*loaded)->step)) ? (*loaded)->step : -3;
  });
  for (int64_t step : steps) EXPECT_EQ(step, steps[0]);
  return steps[0];
}

void FlipByte(const std::string& path, int64_t at) {
  std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
  file.seekg(at);
  char byte = static_cast<char>(file.get());
  file.seekp(at);
  file.put(static_cast<char>(byte ^ 1));
}

TEST(Checkpoint, LoadsBitEqualAtEveryWorldSizeAndSharding) {
  int pairs = 0;
  for (int ranks : {1, 2, 3, 4, 6})
    for (Sharding sharding : {Sharding::kNone, Sharding::kZero2, Sharding::kZero3}) {
      if (sharding == Sharding::kZero2 && ranks % 2 == 1) continue;  // its files are zero3's
      tiny::Folder folder;
      Write(folder.path(), ranks, sharding, {7});
      for (int other : {1, 2, 3, 4, 6}) {
        const Sharding how = other == 1 ? Sharding::kNone : (ranks + other) % 2 == 0 ? Sharding::kZero2 : Sharding::kZero3;
        EXPECT_EQ(Load(folder.path(), other, how), 7) << ranks << " to " << other;
        ++pairs;
      }
      EXPECT_EQ(Load(folder.path(), 3, Sharding::kNone), 7);
    }
  std::printf("candor-figure R4 pairs_bit_equal=%d pairs bound=25\n", pairs);
}

TEST(Checkpoint, AnEmptyFolderHasNone) {
  tiny::Folder folder;
  EXPECT_EQ(Load(folder.path(), 2, Sharding::kZero3), -1);
  EXPECT_EQ(Load(folder.path() + "/missing", 1, Sharding::kNone), -1);
}

TEST(Checkpoint, ADamagedOneIsPassedOver) {
  for (int damage = 0; damage < 5; ++damage) {
    tiny::Folder folder;
    Write(folder.path(), 2, Sharding::kZero3, {10, 20});
    const std::string newest = folder.path() + "/step_00000020/";
    ASSERT_EQ(Load(folder.path(), 2, Sharding::kZero3), 20);
    if (damage == 0) FlipByte(newest + "rank_1.safetensors", 5000);
    if (damage == 1) std::filesystem::resize_file(newest + "rank_0.safetensors", 100);
    if (damage == 2) std::filesystem::remove(newest + "rank_0.safetensors");
    if (damage == 3) std::filesystem::remove(newest + "manifest.json");
    if (damage == 4) {
      ASSERT_TRUE(WriteFileAtomic(newest + "manifest.json", "{\"format\": 1"));
    }
    EXPECT_EQ(Load(folder.path(), 2, Sharding::kZero3), 10) << damage;
    EXPECT_EQ(Load(folder.path(), 1, Sharding::kNone), 10) << damage;
  }
}

// A name that can be seen and not opened (ENXIO), for root as well.
void PutSocketAt(const std::string& path) {
  std::filesystem::remove(path);
  sockaddr_un address{AF_UNIX, {}};
  ASSERT_LT(path.size(), sizeof address.sun_path);
  path.copy(address.sun_path, path.size());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  ASSERT_EQ(::bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  ::close(fd);
}

TEST(Checkpoint, WhatOnlyThisMachineOrProgramCannotReadIsAnErrorAndStays) {
  for (const char* what : {"slice", "manifest", "format", "folder"}) {
    tiny::Folder folder;
    Write(folder.path(), 2, Sharding::kZero3, {10, 20});
    const std::string newest = folder.path() + "/step_00000020", manifest = newest + "/manifest.json";
    if (what == std::string_view("slice")) PutSocketAt(newest + "/rank_1.safetensors");
    if (what == std::string_view("manifest")) PutSocketAt(manifest);
    if (what == std::string_view("format")) {
      std::string text = *ReadFile(manifest);
      const size_t at = text.find("\"format\":");
      ASSERT_NE(at, std::string::npos);
      ASSERT_TRUE(WriteFileAtomic(manifest, text.replace(at + 9, 1, "99")));
    }
    rlimit files{};
    ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &files), 0);
    const rlimit none{0, files.rlim_max};
    if (what == std::string_view("folder")) ::setrlimit(RLIMIT_NOFILE, &none);
    const int64_t loaded = Load(folder.path(), 1, Sharding::kNone);
    ::setrlimit(RLIMIT_NOFILE, &files);
    EXPECT_EQ(loaded, -2) << what << ": neither the one before it nor none";
    EXPECT_TRUE(FileExists(newest)) << what;
  }
}

TEST(Checkpoint, AnUnfinishedOneIsNotOne) {
  tiny::Folder folder;
  Write(folder.path(), 1, Sharding::kNone, {10});
  std::filesystem::create_directories(folder.path() + "/part_step_00000020");
  EXPECT_EQ(Load(folder.path(), 1, Sharding::kNone), 10);
  Write(folder.path(), 1, Sharding::kNone, {20});  // over the remains of the crash
  EXPECT_EQ(Load(folder.path(), 1, Sharding::kNone), 20);
}

TEST(Checkpoint, OnlyTheNewestAreKept) {
  tiny::Folder folder;
  Write(folder.path(), 2, Sharding::kZero2, {1, 2, 3, 4}, 2);
  EXPECT_FALSE(FileExists(folder.path() + "/step_00000002"));
  EXPECT_TRUE(FileExists(folder.path() + "/step_00000003"));
  EXPECT_EQ(ReadFile(folder.path() + "/latest").value(), "step_00000004\n");
}

TEST(Checkpoint, AnotherModelIsAnError) {
  tiny::Folder folder;
  Write(folder.path(), 1, Sharding::kNone, {10});
  OnRanks<int>(1, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(false), {Sharding::kNone, DType::kFp32, false}, collective);
    auto loaded = LoadNewestCheckpoint(policy, folder.path());
    EXPECT_FALSE(loaded);
    return 0;
  });
}

}  // namespace
}  // namespace candor
