#include "cli/supervisor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>

#include "cli/hang_watch.h"
#include "core/clock.h"
#include "core/fs.h"

namespace candor::cli {
namespace {

class Supervise : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/candor_supervise";
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  // Polls until the child is given up or ends well; the number of times it ended.
  int Ends(Supervisor& supervisor, ChildEvent& last, int deadline_ms = 20'000) {
    int ends = 0;
    for (const int64_t end = clock_.SteadyMs() + deadline_ms; clock_.SteadyMs() < end; ::usleep(10'000))
      for (const ChildEvent& event : supervisor.Poll()) {
        ++ends;
        last = event;
        if (event.gave_up || event.exit_code == 0) return ends;
      }
    return -1;
  }
  std::string folder_;
  SystemClock clock_;
};

ChildSpec Shell(const std::string& script) {
  ChildSpec spec;
  spec.name = "child", spec.command = {"sh", "-c", script};
  return spec;
}

TEST_F(Supervise, WhatNeverGetsGoingIsGivenUpSoon) {
  Supervisor supervisor(folder_, clock_);
  ASSERT_TRUE(supervisor.Start(Shell("echo no such address; exit 4")));
  ChildEvent last;
  EXPECT_EQ(Ends(supervisor, last), kEarlyFailuresMax);
  EXPECT_TRUE(last.gave_up);
  EXPECT_EQ(last.exit_code, 4);
  EXPECT_NE(TailOfFile(supervisor.LogPath("child"), 1).find("no such address"), std::string::npos);
}

TEST_F(Supervise, WhatIsKilledOrAsksForARestartIsNotGivenUpThatSoon) {
  for (const char* end : {"exit 75", "kill -9 $$"}) {
    Supervisor supervisor(folder_, clock_);
    const std::string count = folder_ + "/count";
    std::filesystem::remove(count);
    ASSERT_TRUE(supervisor.Start(Shell("echo x >> " + count + "; [ $(wc -l < " + count + ") -gt 4 ] && exit 0; " + end)));
    ChildEvent last;
    EXPECT_EQ(Ends(supervisor, last), kEarlyFailuresMax + 1) << end;
    EXPECT_EQ(last.exit_code, 0);
  }
}

// srun returns 0 when it lost a node, and when a stale PMIx socket kept its step from starting.
TEST_F(Supervise, ExitCodeZeroWithoutProofIsARestart) {
  Supervisor supervisor(folder_, clock_);
  const std::string count = folder_ + "/count";
  ChildSpec spec = Shell("echo x >> " + count + "; exit 0");
  spec.proof = [&] { return ReadFile(count).value().size() >= 3 * 2; };
  ASSERT_TRUE(supervisor.Start(spec));
  ChildEvent last;
  int ends = 0, restarts = 0;
  for (const int64_t end = clock_.SteadyMs() + 20'000; clock_.SteadyMs() < end && ends < 3; ::usleep(10'000))
    for (const ChildEvent& event : supervisor.Poll()) ++ends, restarts += event.restarted, last = event;
  EXPECT_EQ(ends, 3);
  EXPECT_EQ(restarts, 2);
  EXPECT_EQ(last.exit_code, 0);
}

// Ranks are in groups of their own: when their launcher is killed they stay, and hold the memory that the next ones need.
TEST_F(Supervise, WhatAKilledLauncherLeftIsEnded) {
  Supervisor supervisor(folder_, clock_);
  const std::string rank = folder_ + "/rank";
  ASSERT_TRUE(supervisor.Start(Shell("[ -f " + rank + " ] && exit 0; setsid sleep 60 & echo $! > " + rank + "; kill -9 $$")));
  ChildEvent last;
  EXPECT_EQ(Ends(supervisor, last), 2);
  EXPECT_EQ(last.exit_code, 0);
  EXPECT_NE(::kill(std::stoi(*ReadFile(rank)), 0), 0) << "it lives on";
}

TEST_F(Supervise, StopsWithTheSignalThatTheChildUnderstands) {
  Supervisor supervisor(folder_, clock_);
  ChildSpec spec = Shell("trap 'echo usr1; exit 0' USR1; trap 'echo term; exit 0' TERM; echo up; while :; do sleep 0.05; done");
  spec.stop_signal = SIGUSR1, spec.stop_group = false;
  ASSERT_TRUE(supervisor.Start(spec));
  while (TailOfFile(supervisor.LogPath("child"), 1).find("up") == std::string::npos) ::usleep(10'000);
  supervisor.Stop(5000);
  EXPECT_NE(TailOfFile(supervisor.LogPath("child"), 1).find("usr1"), std::string::npos);
}

TEST_F(Supervise, TheEndOfALongLogIsFound) {
  std::string log = "first\n";
  for (int i = 0; i < 10'000; ++i) log += "line " + std::to_string(i) + " of many\n";
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/long.log", log));
  EXPECT_EQ(TailOfFile(folder_ + "/long.log", 2), "  line 9998 of many\n  line 9999 of many\n");
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/short.log", "one\ntwo"));
  EXPECT_EQ(TailOfFile(folder_ + "/short.log", 5), "  one\n  two\n");
  EXPECT_EQ(TailOfFile(folder_ + "/none.log", 5), "");
}

// A status of another version may hold other kinds of values: they count as nothing heard, and nobody falls over them.
TEST(Silences, AreReadFromNumbersAlone) {
  const auto heard = ReadSilences(R"({"members": [{"name": "rollout-0", "silent_s": 1.5, "joined_s": 20}, {"name": "a", "silent_s": "long"},
    {"name": "b", "silent_s": 1e308, "joined_s": -5}, {"name": 3}, 4]})");
  ASSERT_EQ(heard.size(), 3u);
  EXPECT_EQ(heard.at("rollout-0").silent_ms, 1500);
  EXPECT_EQ(heard.at("rollout-0").joined_ms_ago, 20'000);
  EXPECT_EQ(heard.at("a").silent_ms, 0);
  EXPECT_GT(heard.at("b").silent_ms, 1'000'000'000);
  EXPECT_EQ(heard.at("b").joined_ms_ago, 0);
  for (const char* text : {"", "[]", R"({"members": 3})", R"({"members": {"a": 1}})"}) EXPECT_TRUE(ReadSilences(text).empty()) << text;
}

}  // namespace
}  // namespace candor::cli
