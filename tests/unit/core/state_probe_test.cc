#include "core/state_probe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <thread>

namespace candor {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

std::string ProbedFolder() {
  const std::string folder = ::testing::TempDir() + "/candor_state_probe";
  std::filesystem::remove_all(folder);
  return folder;
}

TEST(StateProbe, ThisMachinesFileSystemIsSafeAndLeftClean) {
  const std::string folder = ProbedFolder();
  const Result<StateProbe> probe = ProbeStateDir(folder);
  ASSERT_TRUE(probe) << probe.error().Message();
  EXPECT_THAT(probe->unsafe, IsEmpty());
  EXPECT_TRUE(RequireSafeStateDir(folder, *probe));
  EXPECT_GE(probe->fsync_ms, 0);
  EXPECT_TRUE(std::filesystem::is_empty(folder));
}

TEST(StateProbe, EveryMissingPromiseIsNamed) {
  struct Case {
    std::function<void(ProbeCalls&)> damage;
    const char* words;
  };
  const auto fails = [](auto...) {
    errno = EPERM;
    return -1;
  };
  const Case cases[] = {
      {[&](ProbeCalls& c) { c.link = fails; }, "link(2) does not work (Operation not permitted)"},
      {[](ProbeCalls& c) { c.link = [](const char*, const char*) { return 0; }; }, "link(2) replaces a file"},
      {[&](ProbeCalls& c) { c.rename = fails; }, "rename(2) over an existing file does not work"},
      {[](ProbeCalls& c) { c.rename = [](const char*, const char*) { return 0; }; }, "rename(2) did not replace"},
      {[&](ProbeCalls& c) { c.fsync = fails; }, "fsync(2) does not work"},
      {[](ProbeCalls& c) { c.lock = [](int) { return false; }; }, "fcntl locks do not work"},
      {[](ProbeCalls& c) { c.locked_by_other = [](int) { return false; }; }, "other processes do not see them"},
  };
  for (const Case& one : cases) {
    ProbeCalls calls = SystemProbeCalls();
    one.damage(calls);
    const std::string folder = ProbedFolder();
    const Result<StateProbe> probe = ProbeStateDir(folder, calls);
    ASSERT_TRUE(probe);
    EXPECT_THAT(probe->unsafe, ElementsAre(HasSubstr(one.words)));
    EXPECT_THAT(RequireSafeStateDir(folder, *probe).error().Message(), HasSubstr("state_dir"));
    EXPECT_TRUE(std::filesystem::is_empty(folder)) << one.words;
  }
}

TEST(StateProbe, ASlowDiskIsAWarning) {
  ProbeCalls calls = SystemProbeCalls();
  calls.fsync = [](int) {
    std::this_thread::sleep_for(std::chrono::milliseconds(60));
    return 0;
  };
  const Result<StateProbe> probe = ProbeStateDir(ProbedFolder(), calls);
  ASSERT_TRUE(probe);
  EXPECT_THAT(probe->unsafe, IsEmpty());
  EXPECT_THAT(probe->warnings.back(), HasSubstr("one fsync takes 6"));
}

TEST(StateProbe, AFolderThatCannotBeMadeIsAnError) { EXPECT_EQ(ProbeStateDir("/proc/candor").error().code, ErrorCode::kIo); }

}  // namespace
}  // namespace candor
