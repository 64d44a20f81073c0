// Weights of objectives over a run: the values at the start, half way and at the end, and what they follow.
#include "core/weight_schedule.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

TEST(WeightSchedule, AConstantNeverMoves) {
  const WeightSchedule w{WeightKind::kConstant, 0.5, 9.0, 10, 9.0};
  for (int64_t t : {0, 5, 10, 1000}) EXPECT_EQ(w.At(t, 0.1, 0.9), 0.5);
}

TEST(WeightSchedule, ARampIsStraightAndStaysAtItsEnd) {
  const WeightSchedule up{WeightKind::kRamp, 0.0, 1.0, 40};
  EXPECT_EQ(up.At(0), 0.0);
  EXPECT_EQ(up.At(20), 0.5);
  EXPECT_EQ(up.At(40), 1.0);
  EXPECT_EQ(up.At(41), 1.0);
  EXPECT_DOUBLE_EQ(up.At(10), 0.25);
  const WeightSchedule down{WeightKind::kRamp, 2.0, 0.5, 3};
  EXPECT_EQ(down.At(0), 2.0);
  EXPECT_DOUBLE_EQ(down.At(1), 1.5);
  EXPECT_EQ(down.At(3), 0.5);
  // The control: another length is another weight half way.
  EXPECT_NE((WeightSchedule{WeightKind::kRamp, 0.0, 1.0, 80}.At(20)), up.At(20));
}

TEST(WeightSchedule, MatchingFollowsTheMeasuredDeviations) {
  const WeightSchedule w{WeightKind::kMatchStd, 0.5, 0.0, 1, 4.0};
  EXPECT_DOUBLE_EQ(w.At(0, 0.1, 0.4), 2.0);  // 2.0 * 0.1 = 0.5 * 0.4
  EXPECT_DOUBLE_EQ(w.At(7, 0.4, 0.4), 0.5);
  EXPECT_EQ(w.At(0, 0.01, 0.4), 4.0);  // 20 is above the bound
  EXPECT_EQ(w.At(0, 0.0, 0.4), 4.0);   // nothing to scale
  EXPECT_EQ(w.At(0, 0.1, 0.0), 0.0);   // accuracy does not vary
}

TEST(WeightSchedule, BoundsHoldWhateverIsMeasured) {
  const WeightSchedule w{WeightKind::kMatchStd, 0.5, 0.0, 1, 4.0}, ramp{WeightKind::kRamp, 0.0, 1.0, 4};
  for (double own : {0.0, 1e-9, 0.01, 0.1, 10.0})
    for (double accuracy : {0.0, 0.1, 0.5}) {
      EXPECT_LE(w.LeastAt(3), w.At(3, own, accuracy));
      EXPECT_LE(w.At(3, own, accuracy), w.MostAt(3));
    }
  EXPECT_EQ(ramp.LeastAt(2), 0.5);
  EXPECT_EQ(ramp.MostAt(2), 0.5);
}

}  // namespace
}  // namespace candor
