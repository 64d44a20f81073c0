// Every fuzz target, everywhere: its seeds, then seeded mutations of them. The same numbers every time, so that a failure is repeated by
// running the test again; it names the target and the try.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <chrono>
#include <fstream>

#include "core/rng.h"
#include "tests/fuzz/targets.h"

namespace candor::fuzz {
namespace {

constexpr size_t kMaxBytes = 1 << 16;
constexpr double kOneTrySeconds = 1.0;

class Mutator {
 public:
  Mutator(const std::vector<std::string>& seeds, uint64_t seed) : seeds_(seeds), seed_(seed) {}

  std::string Next() {
    std::string bytes = seeds_[Below(seeds_.size())];
    for (uint64_t edits = 1 + Below(4); edits > 0; --edits) Edit(bytes);
    if (bytes.size() > kMaxBytes) bytes.resize(kMaxBytes);
    return bytes;
  }

 private:
  uint64_t Below(uint64_t n) { return n == 0 ? 0 : RandomBits(seed_, RngStream::kSynthetic, ++count_) % n; }
  size_t Place(const std::string& bytes) { return static_cast<size_t>(Below(bytes.size() + 1)); }

  void Edit(std::string& bytes) {
    static const std::vector<std::string> kWords = {"\"",
                                                    "{",
                                                    "}",
                                                    "[",
                                                    "]",
                                                    ",",
                                                    ":",
                                                    "null",
                                                    "1e308",
                                                    "-1",
                                                    "1e999",
                                                    "NaN",
                                                    "\\ud800",
                                                    "\xff\xfe",
                                                    std::string(1, '\0'),
                                                    "../",
                                                    "18446744073709551616",
                                                    "9223372036854775807",
                                                    "\xff\xff\xff\xff\x0f",
                                                    "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
                                                    "<answer>",
                                                    "</think>",
                                                    "{{",
                                                    "%}",
                                                    "[[",
                                                    "'''",
                                                    "="};
    const size_t at = Place(bytes);
    switch (Below(8)) {
      case 0:
        if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << Below(8)));
        break;
      case 1:
        if (at < bytes.size()) bytes[at] = static_cast<char>(Below(256));
        break;
      case 2:
        bytes.erase(at, static_cast<size_t>(1 + Below(16)));
        break;
      case 3:
        bytes.insert(at, kWords[Below(kWords.size())]);
        break;
      case 4: {  // a piece once more
        const std::string piece = bytes.substr(Place(bytes), static_cast<size_t>(1 + Below(40)));
        bytes.insert(at, piece);
        break;
      }
      case 5: {  // the end of another seed
        const std::string& other = seeds_[Below(seeds_.size())];
        bytes = bytes.substr(0, at) + other.substr(Place(other));
        break;
      }
      case 6:
        bytes.resize(at);
        break;
      case 7: {  // much of one byte
        const char c = at < bytes.size() ? bytes[at] : '[';
        bytes.insert(at, std::string(static_cast<size_t>(Below(3000)), c));
        break;
      }
    }
  }

  const std::vector<std::string>& seeds_;
  const uint64_t seed_;
  uint64_t count_ = 0;
};

int64_t PeakMb() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

class FuzzTarget : public ::testing::TestWithParam<Target> {};

TEST_P(FuzzTarget, TakesSeedsAndMutations) {
  spdlog::set_level(spdlog::level::off);
  const Target& target = GetParam();
  const std::vector<std::string> seeds = target.seeds();
  ASSERT_FALSE(seeds.empty());
  const int64_t before_mb = PeakMb();
  double slowest = 0.0;
  auto run = [&](const std::string& bytes, int number) {
    SCOPED_TRACE(std::string(target.name) + ", try " + std::to_string(number));
    const auto start = std::chrono::steady_clock::now();
    target.run(bytes);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    slowest = std::max(slowest, seconds);
    EXPECT_LT(seconds, kOneTrySeconds * CANDOR_FUZZ_SLOWNESS);
  };
  for (size_t i = 0; i < seeds.size(); ++i) run(seeds[i], -1 - static_cast<int>(i));
  Mutator mutator(seeds, 20260701);
  const int tries = target.mutations / CANDOR_FUZZ_SLOWNESS;
  for (int i = 0; i < tries && !HasFailure(); ++i) run(mutator.Next(), i);
  EXPECT_LE(PeakMb() - before_mb, 512 * CANDOR_FUZZ_SLOWNESS);
  std::printf("candor-figure R10 fuzz_tries/%s=%d tries slowest=%.4f s peak=%ld MB bound=0 crashes, 1 s, 512 MB\n", target.name, tries,
              slowest, static_cast<long>(PeakMb()));
}

INSTANTIATE_TEST_SUITE_P(All, FuzzTarget, ::testing::ValuesIn(Targets()),
                         [](const ::testing::TestParamInfo<Target>& one) { return std::string(one.param.name); });

// The harness can fail: a promise that does not hold ends the process.
TEST(FuzzHarness, ABrokenPromiseIsFound) { EXPECT_DEATH(Promise(false, "two is one"), "broken promise: two is one"); }

}  // namespace
}  // namespace candor::fuzz
