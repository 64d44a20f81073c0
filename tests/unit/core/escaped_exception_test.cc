// An exception that nobody catches ends the process with words and with the exit code of an internal error.
#include "core/escaped_exception.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <new>
#include <stdexcept>
#include <thread>

#include "core/result.h"

namespace candor {
namespace {

class EscapedException : public ::testing::Test {
 protected:
  EscapedException() { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
  const ::testing::ExitedWithCode internal{static_cast<int>(ExitCodeOf(ErrorCode::kInternal))};
};

// In a thread of its own: gtest catches what escapes from a test's.
template <typename Throw>
void EscapeFromAThread(Throw what) {
  TellEscapedExceptions("candor bench");
  std::thread([&] { what(); }).join();
}

TEST_F(EscapedException, IsNamedWithThePlaceAndWhatToDo) {
  EXPECT_EXIT(EscapeFromAThread([] { (void)std::filesystem::file_size("/no such folder"); }), internal,
              "candor bench: internal error: std::filesystem.*filesystem_error: .*no such folder.*\\(thread .*\\); mend what the system "
              "names here; a run that was under way goes on with --resume");
}

TEST_F(EscapedException, ThatMemoryRanOutHasItsOwnAdvice) {
  EXPECT_EXIT(EscapeFromAThread([] { throw std::bad_alloc(); }), internal, "internal error: std::bad_alloc: .*--dry-run");
}

TEST_F(EscapedException, OfALibraryShowsItsFirstLineAlone) {
  EXPECT_EXIT(EscapeFromAThread([] { throw std::runtime_error("the shape is wrong\nframe #0: abc"); }), internal,
              "internal error: std::runtime_error: the shape is wrong \\(thread");
}

TEST_F(EscapedException, OfAnyTypeIsTold) {
  EXPECT_EXIT(EscapeFromAThread([] { throw 7; }), internal, "internal error: an exception of type int \\(thread");
}

struct Waits {  // a destructor that waits for a thread which never ends
  ~Waits() {
    for (;;) std::this_thread::sleep_for(std::chrono::seconds(1));
  }
};

TEST_F(EscapedException, UnwindsNothingThatCouldHang) {
  EXPECT_EXIT(EscapeFromAThread([] {
                const Waits waits;
                throw std::runtime_error("x");
              }),
              internal, "internal error: std::runtime_error: x");
}

}  // namespace
}  // namespace candor
