// Workers apart from their learners: what they wait for, and the learners' last word.
#include "cli/workers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/rl_stage.h"
#include "core/clock.h"
#include "core/fs.h"

namespace candor::cli {
namespace {

using ::testing::HasSubstr;

class Workers : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(run_.path);
    ASSERT_TRUE(MakeFolders(run_.Jobs()));
    ASSERT_TRUE(MakeFolders(run_.Logs()));
  }
  static bool Stay() { return false; }
  const RunDir run_{testing::TempDir() + "/candor_workers"};
};

// The message holds the end of a log, which may hold any bytes.
TEST_F(Workers, HearWhyTheLearnersFailedWhateverTheirLogHolds) {
  ASSERT_TRUE(WriteFileAtomic(run_.Logs() + "/trainer.log", "half a character: \xe2\x82\nout of memory\n"));
  const SystemClock clock;
  Supervisor supervisor(run_.Logs(), clock);
  const Status gave_up = GaveUp({"trainer", 1, false, true}, supervisor);
  ASSERT_FALSE(gave_up);
  ASSERT_TRUE(RecordFailure(run_, gave_up.error()));
  const auto waited = WaitForRun(run_, Stay);
  ASSERT_FALSE(waited);
  EXPECT_THAT(waited.error().what, HasSubstr("out of memory"));

  ChildSpec worker;
  worker.name = "rollout-0", worker.command = {"sleep", "60"};
  const Status supervised = SuperviseWorkers({worker}, run_, {"rollouts", {}, 1000});
  ASSERT_FALSE(supervised);
  EXPECT_EQ(supervised.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(supervised.error().what, HasSubstr("out of memory"));
}

TEST_F(Workers, GoOnOnceTheFailureIsForgotten) {
  ASSERT_TRUE(RecordFailure(run_, {ErrorCode::kInternal, "broken", "", "", false}));
  ForgetFailure(run_);
  EXPECT_FALSE(WaitForRun(run_, [] { return true; }).value()) << "nobody comes";
  ASSERT_TRUE(WriteFileAtomic(run_.Resolved(), ""));
  EXPECT_TRUE(WaitForRun(run_, Stay).value());
}

}  // namespace
}  // namespace candor::cli
