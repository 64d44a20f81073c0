#include "core/turn.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>
#include <vector>

namespace candor {
namespace {

class TakingTurns : public ::testing::Test {
 protected:
  void SetUp() override {
    folder_ = ::testing::TempDir() + "/candor_turn";
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  std::string folder_;
};

TEST_F(TakingTurns, ALearnerExcludesRolloutsAndTheyShare) {
  const Turn turn = *Turn::Open("runs/a", folder_), same = *Turn::Open("./runs/x/../a", folder_), other = *Turn::Open("runs/b", folder_);
  {
    const auto first = turn.TryShare(), second = same.TryShare();
    ASSERT_TRUE(first && *first && second && *second);
    EXPECT_EQ(turn.TakeWhole(20).error().code, ErrorCode::kUnavailable);
  }
  const Result<Turn::Hold> whole = turn.TakeWhole(1000);
  ASSERT_TRUE(whole);
  EXPECT_FALSE(*same.TryShare()) << "a rollout began a step while the learner learned";
  EXPECT_TRUE(*other.TryShare()) << "another run's turn is its own";
}

// Two rollouts whose steps overlap all the time must not keep the learner out.
TEST_F(TakingTurns, BusyRolloutsDoNotStarveTheLearner) {
  std::atomic<bool> stop = false;
  std::atomic<int> steps = 0, inside = 0;
  std::atomic<bool> mixed = false;
  std::vector<std::jthread> rollouts;
  for (int i = 0; i < 2; ++i)
    rollouts.emplace_back([&] {
      const Turn turn = *Turn::Open("runs/a", folder_);
      while (!stop) {
        const auto hold = *turn.TryShare();
        if (!hold) continue;
        ++inside;
        std::this_thread::sleep_for(std::chrono::milliseconds(3));
        --inside;
        ++steps;
      }
    });
  const Turn turn = *Turn::Open("runs/a", folder_);
  for (int i = 0; i < 20; ++i) {
    for (const int before = steps; steps < before + 2;) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    const Result<Turn::Hold> whole = turn.TakeWhole(2000);
    ASSERT_TRUE(whole) << "starved";
    mixed = mixed || inside > 0;
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    mixed = mixed || inside > 0;
  }
  stop = true;
  EXPECT_FALSE(mixed);
  EXPECT_GT(steps, 0);
}

TEST_F(TakingTurns, ADeadHolderHoldsNothing) {
  const pid_t child = ::fork();
  if (child == 0) {
    const Turn turn = *Turn::Open("runs/a", folder_);
    const auto hold = turn.TakeWhole(1000);
    ::raise(SIGSTOP);
    ::_exit(0);
  }
  int status = 0;
  ::waitpid(child, &status, WUNTRACED);
  const Turn turn = *Turn::Open("runs/a", folder_);
  EXPECT_FALSE(*turn.TryShare());
  ::kill(child, SIGKILL);
  ::waitpid(child, &status, 0);
  EXPECT_TRUE(*turn.TryShare());
}

}  // namespace
}  // namespace candor
