#include "core/fault_point.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace candor {
namespace {

// Rules are read once per process: each case runs in a child of its own, which goes past the point and then leaves with 7.
[[noreturn]] void Visit(const char* rules, const std::string& folder, const std::string& process, int visits) {
  ::setenv("CANDOR_FAULT", rules, 1);
  if (!folder.empty()) ::setenv("CANDOR_FAULT_DIR", folder.c_str(), 1);
  SetProcessName(process);
  int failed = 0;
  for (int i = 0; i < visits; ++i) failed += internal::VisitFaultPoint("test.point") ? 1 : 0;
  std::_Exit(failed > 0 ? 8 : 7);
}

TEST(FaultPoint, DoesNothingUnlessAsked) { EXPECT_FALSE(FaultPoint("test.point")); }

TEST(FaultPoint, KillsAtTheHitThatWasAskedFor) {
  EXPECT_EXIT(Visit("test.point=kill@3", "", "a", 3), testing::KilledBySignal(SIGKILL), "");
  EXPECT_EXIT(Visit("test.point=kill@3", "", "a", 2), testing::ExitedWithCode(7), "");
  EXPECT_EXIT(Visit("other.point=kill", "", "a", 2), testing::ExitedWithCode(7), "");
}

TEST(FaultPoint, MeansOneProcessWhereOneIsNamed) {
  EXPECT_EXIT(Visit("test.point/b=exit:5", "", "a", 1), testing::ExitedWithCode(7), "");
  EXPECT_EXIT(Visit("x=kill, test.point/a=exit:5", "", "a", 1), testing::ExitedWithCode(5), "");
  EXPECT_EXIT(Visit("test.point=fail", "", "a", 2), testing::ExitedWithCode(8), "");
}

TEST(FaultPoint, ActsOnceInAllProcessesWhereAFolderKeepsCount) {
  const std::string folder = std::string(::getenv("TEST_TMPDIR") ? ::getenv("TEST_TMPDIR") : "/tmp") + "/fault_once";
  std::filesystem::remove_all(folder);
  std::filesystem::create_directories(folder);
  EXPECT_EXIT(Visit("test.point=exit:5", folder, "a", 1), testing::ExitedWithCode(5), "");
  EXPECT_EXIT(Visit("test.point=exit:5", folder, "a", 1), testing::ExitedWithCode(7), "");
  std::string pid, when, action;
  std::ifstream(folder + "/test.point.any") >> pid >> when >> action;
  EXPECT_EQ(action, "exit:5");
  EXPECT_GT(std::stoll(when), 1700000000000);
}

// Two threads of a process come to their deadly moments at once: one kills, the other's rule is left for the next life.
TEST(FaultPoint, AClaimIsActedOnThoughAnotherThreadKillsTheProcess) {
  const std::string folder = std::string(::getenv("TEST_TMPDIR") ? ::getenv("TEST_TMPDIR") : "/tmp") + "/fault_threads";
  auto both = [&] {
    ::setenv("CANDOR_FAULT", "test.a=kill, test.b=kill", 1);
    ::setenv("CANDOR_FAULT_DIR", folder.c_str(), 1);
    std::atomic<int> there = 0;
    auto visit = [&](const char* point) {
      for (++there; there < 2;) std::this_thread::yield();
      (void)internal::VisitFaultPoint(point);
    };
    std::thread other(visit, "test.b");
    visit("test.a");
    other.join();
    std::_Exit(7);
  };
  for (int life = 0; life < 40; ++life) {
    std::filesystem::remove_all(folder);
    std::filesystem::create_directories(folder);
    ASSERT_EXIT(both(), testing::KilledBySignal(SIGKILL), "");
    int claims = 0;
    for (const auto& claim : std::filesystem::directory_iterator(folder)) {
      EXPECT_GT(claim.file_size(), 0u) << claim.path();
      ++claims;
    }
    ASSERT_EQ(claims, 1) << "of two rules one has acted";
  }
}

TEST(FaultPoint, RefusesARuleItCannotRead) {
  for (const char* rule : {"test.point", "=kill", "test.point=die", "test.point=kill@0", "test.point=delay", "test.point=kill:3"})
    EXPECT_EXIT(Visit(rule, "", "a", 1), testing::ExitedWithCode(2), "is not POINT") << rule;
}

}  // namespace
}  // namespace candor
