#include "reward/spool.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "core/fs.h"
#include "tests/unit/reward/testing.h"

namespace candor {
namespace {

using testing::TempFolder;

std::unique_ptr<Spool> Open(const std::string& folder, uint64_t limit = 1 << 20) {
  Result<std::unique_ptr<Spool>> spool = Spool::Open(folder, limit);
  EXPECT_TRUE(spool.has_value()) << (spool ? "" : spool.error().Message());
  return std::move(*spool);
}
std::string Payload(uint64_t group) { return "payload of group " + std::to_string(group) + std::string(group % 50, 'x'); }

TEST(Spool, KeepsWhatWasPutAndServesItByIdAndHash) {
  TempFolder folder;
  auto spool = Open(folder.path());
  SpooledGroup entry = *spool->Put(MakeGroupId(3, 1), {3}, Payload(1));
  EXPECT_EQ(entry.hash, HashHex(Payload(1)));
  EXPECT_EQ(*spool->Fetch(entry.group, entry.hash), Payload(1));
  EXPECT_EQ(spool->Fetch(entry.group, std::string(32, '0')).error().code, ErrorCode::kInvalidInput);
  EXPECT_EQ(spool->Fetch(MakeGroupId(9, 9), "").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(spool->Put(entry.group, {3}, "another life's answer")->hash, entry.hash);  // the first stays: plans name its hash
  auto again = Open(folder.path());
  ASSERT_EQ(again->List().size(), 1u);
  EXPECT_EQ(again->List()[0].wave.value, 3u);
  EXPECT_EQ(*again->Fetch(entry.group, entry.hash), Payload(1));
  EXPECT_EQ(again->bytes(), Payload(1).size());
}

TEST(Spool, ReleasesByWaveAndForgetsById) {
  TempFolder folder;
  auto spool = Open(folder.path());
  GroupId eval{uint64_t{1} << 63 | 7};
  for (uint64_t wave = 1; wave <= 5; ++wave) ASSERT_TRUE(spool->Put(MakeGroupId(wave, 0), {wave}, Payload(wave)).has_value());
  ASSERT_TRUE(spool->Put(eval, {1}, Payload(9)).has_value());
  spool->ReleaseThrough({3});
  EXPECT_EQ(spool->List().size(), 3u);
  EXPECT_TRUE(spool->Find(eval).has_value());  // evaluation groups belong to no step
  spool->Forget(std::vector<GroupId>{MakeGroupId(4, 0), eval, MakeGroupId(77, 0)});
  ASSERT_EQ(spool->List().size(), 1u);
  EXPECT_EQ(spool->bytes(), Payload(5).size());
  EXPECT_EQ(Open(folder.path())->List().size(), 1u);
}

TEST(Spool, AFileTornOrFlippedAtAnyByteIsSetAsideAndTheOthersStay) {
  TempFolder folder;
  GroupId whole = MakeGroupId(1, 0), torn = MakeGroupId(1, 1);
  {
    auto spool = Open(folder.path());
    ASSERT_TRUE(spool->Put(whole, {1}, Payload(1)).has_value());
    ASSERT_TRUE(spool->Put(torn, {1}, Payload(2)).has_value());
  }
  char name[32];
  std::snprintf(name, sizeof name, "%016lx.group", static_cast<unsigned long>(torn.value));
  std::string path = folder.path() + "/" + name, bytes = *ReadFile(path);
  for (size_t i = 0; i < 2 * bytes.size(); ++i) {
    std::string damaged = bytes;
    if (i < bytes.size())
      damaged.resize(i);
    else
      damaged[i - bytes.size()] = static_cast<char>(damaged[i - bytes.size()] ^ 0x10);
    ASSERT_TRUE(WriteFileAtomic(path, damaged, false).has_value());
    auto spool = Open(folder.path());
    ASSERT_EQ(spool->List().size(), 1u) << "byte " << i;
    EXPECT_EQ(*spool->Fetch(whole, ""), Payload(1));
    EXPECT_EQ(spool->set_aside(), 1u);
    EXPECT_TRUE(spool->Put(torn, {1}, Payload(2)).has_value());  // and can be written again
  }
}

TEST(Spool, AFileThatGoesBadWhileOpenIsNeverServedAndCanBeReplaced) {
  TempFolder folder;
  auto spool = Open(folder.path());
  SpooledGroup entry = *spool->Put(MakeGroupId(1, 0), {1}, Payload(1));
  for (const auto& file : std::filesystem::directory_iterator(folder.path())) {
    std::string bytes = *ReadFile(file.path().string());
    bytes.back() ^= 1;
    ASSERT_TRUE(WriteFileAtomic(file.path().string(), bytes, false).has_value());
  }
  EXPECT_EQ(spool->Fetch(entry.group, entry.hash).error().code, ErrorCode::kIo);
  EXPECT_FALSE(spool->Find(entry.group).has_value());
  ASSERT_TRUE(spool->Put(entry.group, {1}, Payload(1)).has_value());
  EXPECT_EQ(*spool->Fetch(entry.group, entry.hash), Payload(1));
}

// The child acknowledges each group through a pipe after Put returned; killed at any moment, everything acknowledged is there and whole.
TEST(Spool, WhatWasAcknowledgedSurvivesKill9) {
  for (int round = 0; round < 12; ++round) {
    TempFolder folder;
    int pipe[2];
    ASSERT_EQ(::pipe(pipe), 0);
    pid_t child = ::fork();
    if (child == 0) {
      Result<std::unique_ptr<Spool>> spool = Spool::Open(folder.path(), 1 << 30);
      for (uint64_t i = 1; spool && (*spool)->Put({i}, {1}, Payload(i)); ++i)
        if (::write(pipe[1], &i, sizeof i) != sizeof i) break;
      ::_exit(1);
    }
    ::close(pipe[1]);
    uint64_t last = 0, number = 0;
    uint64_t enough = 3 + static_cast<uint64_t>(round);
    while (last < enough && ::read(pipe[0], &number, sizeof number) == sizeof number) last = number;
    ::usleep(static_cast<useconds_t>(round * 137));
    ::kill(child, SIGKILL);
    while (::read(pipe[0], &number, sizeof number) == sizeof number) last = number;
    ::close(pipe[0]);
    ::waitpid(child, nullptr, 0);
    ASSERT_GE(last, enough);
    auto spool = Open(folder.path(), 1 << 30);
    for (uint64_t i = 1; i <= last; ++i) ASSERT_EQ(spool->Fetch({i}, "").value_or("gone"), Payload(i));
    EXPECT_LE(spool->List().size(), last + 1);
    EXPECT_EQ(spool->set_aside(), 0u);
    for (const auto& file : std::filesystem::directory_iterator(folder.path()))
      EXPECT_EQ(file.path().string().find(".tmp."), std::string::npos);
  }
}

TEST(Spool, AFullSpoolRefusesByNameAndRecovers) {
  TempFolder folder;
  auto spool = Open(folder.path(), 100);
  ASSERT_TRUE(spool->Put({1}, {1}, std::string(90, 'a')).has_value());
  Result<SpooledGroup> refused = spool->Put({2}, {1}, std::string(11, 'b'));
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(refused.error().fix.find("spool_limit_mb"), std::string::npos);
  spool->Forget(std::vector<GroupId>{GroupId{1}});
  EXPECT_TRUE(spool->Put({2}, {1}, std::string(11, 'b')).has_value());
}

TEST(Spool, AFullDiskIsANamedErrorAndLeavesNothing) {
  TempFolder folder;
  pid_t child = ::fork();
  if (child == 0) {  // files of this process may grow to 4 kB: a write beyond fails as on a full disk
    ::signal(SIGXFSZ, SIG_IGN);
    rlimit limit{4096, 4096};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    Result<std::unique_ptr<Spool>> spool = Spool::Open(folder.path(), 1 << 30);
    if (!spool || !(*spool)->Put({1}, {1}, Payload(1))) ::_exit(2);
    Result<SpooledGroup> refused = (*spool)->Put({2}, {1}, std::string(100000, 'z'));
    if (refused || refused.error().code != ErrorCode::kIo || refused.error().what.find("cannot spool group 2") == std::string::npos ||
        refused.error().fix.empty())
      ::_exit(3);
    ::_exit((*spool)->Put({3}, {1}, Payload(3)) ? 0 : 4);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  EXPECT_EQ(WEXITSTATUS(status), 0);
  auto spool = Open(folder.path());
  EXPECT_EQ(spool->List().size(), 2u);
}

}  // namespace
}  // namespace candor
