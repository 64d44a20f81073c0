// Holm's method against worked numbers and a naive twin.
#include "calibration/multiple.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "core/rng.h"

namespace candor::calibration {
namespace {

using testing::DoubleNear;
using testing::ElementsAre;

TEST(Holm, WorkedNumbers) {
  EXPECT_THAT(HolmAdjusted({0.01, 0.04, 0.03}), ElementsAre(DoubleNear(0.03, 1e-12), DoubleNear(0.06, 1e-12), DoubleNear(0.06, 1e-12)));
  EXPECT_THAT(HolmAdjusted({0.5, 0.6}), ElementsAre(1.0, 1.0));
  EXPECT_THAT(HolmAdjusted({std::nan(""), 0.02}), ElementsAre(1.0, DoubleNear(0.04, 1e-12)));
  EXPECT_TRUE(HolmAdjusted({}).empty());
  EXPECT_THAT(HolmLevels({0.01, 0.04, 0.03}, 0.95),
              ElementsAre(DoubleNear(1 - .05 / 3, 1e-12), DoubleNear(.95, 1e-12), DoubleNear(.975, 1e-12)));
}

// The textbook's procedure: reject in ascending order while p_k <= alpha / (m - k), then stop.
TEST(Holm, RejectsWhatTheStepDownProcedureRejects) {
  for (uint64_t round = 0; round < 200; ++round) {
    std::vector<double> p;
    for (uint64_t i = 0; i < 7; ++i) p.push_back(std::pow(RandomUnit(1, RngStream::kSynthetic, round, i), 4));
    std::vector<double> sorted = p;
    std::sort(sorted.begin(), sorted.end());
    size_t rejected = 0;
    while (rejected < 7 && sorted[rejected] <= 0.05 / static_cast<double>(7 - rejected)) ++rejected;
    const std::vector<double> adjusted = HolmAdjusted(p);
    for (size_t i = 0; i < 7; ++i) EXPECT_EQ(adjusted[i] <= 0.05, rejected > 0 && p[i] <= sorted[rejected - 1]) << round << " " << i;
  }
}

TEST(BootstrapP, CountsTheFurtherSide) {
  EXPECT_DOUBLE_EQ(BootstrapPValue(std::vector<double>(99, 1.0)), 2.0 / 100);
  EXPECT_DOUBLE_EQ(BootstrapPValue(std::vector<double>(99, 0.0)), 1.0);
  std::vector<double> some(99, -1.0);
  some[0] = some[1] = 1.0;
  EXPECT_DOUBLE_EQ(BootstrapPValue(some), 2.0 * 3 / 100);
  EXPECT_DOUBLE_EQ(BootstrapPValue({}), 1.0);
  EXPECT_DOUBLE_EQ(BootstrapPValue(std::vector<double>(99, std::nan(""))), 1.0) << "what is not known shows nothing";
}

}  // namespace
}  // namespace candor::calibration
