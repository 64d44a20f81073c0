// Tests that may be looked at any time must not cry wolf: one factor per prompt.
#include "calibration/sequential.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "core/rng.h"

namespace candor::calibration {
namespace {

// A calibrated model whose rollouts of a prompt agree: all right or all wrong together.
Points CorrelatedWorld(uint64_t world, double bias = 0.0) {
  Points points;
  for (uint64_t prompt = 0; prompt < 80; ++prompt) {
    const double p = 0.2 + 0.6 * RandomUnit(world, RngStream::kSynthetic, prompt, 0);
    const double y = RandomUnit(world, RngStream::kSynthetic, prompt, 1) < p - bias ? 1.0 : 0.0;
    for (int rollout = 0; rollout < 8; ++rollout) points.push_back({p, y, prompt});
  }
  return points;
}

TEST(EProcess, OneFactorPerPromptKeepsFalseAlarmsRare) {
  int alarms = 0, per_rollout_alarms = 0;
  const int worlds = 300;
  for (int world = 0; world < worlds; ++world) {
    Points points = CorrelatedWorld(world);
    alarms += RunEProcess(points).first_alarm >= 0;
    for (size_t i = 0; i < points.size(); ++i) points[i].cluster = i;  // negative control: every rollout a factor of its own
    per_rollout_alarms += RunEProcess(points).first_alarm >= 0;
  }
  EXPECT_LE(alarms, 0.05 * worlds + 6);
  EXPECT_GT(per_rollout_alarms, 0.5 * worlds);
}

TEST(EProcess, NoticesOverConfidence) {
  int alarms = 0;
  for (int world = 0; world < 50; ++world) alarms += RunEProcess(CorrelatedWorld(world, 0.25)).first_alarm >= 0;
  EXPECT_GT(alarms, 40);
}

TEST(EProcess, TiltCatchesErrorsThatCancel) {
  Points points;
  for (uint64_t i = 0; i < 600; ++i) {
    const bool high = i % 2 == 0;
    points.push_back({high ? 0.8 : 0.2, RandomUnit(5, RngStream::kSynthetic, i) < (high ? 0.65 : 0.35) ? 1.0 : 0.0, i});
  }
  EXPECT_GE(RunEProcess(points, 0.05, true).first_alarm, 0);
  EXPECT_EQ(-1, RunEProcess(points, 0.05, false).first_alarm);
}

TEST(EProcess, MergesInAnyOrder) {
  const Points points = CorrelatedWorld(1, 0.1);
  EProcess whole, first, second;
  for (size_t i = 0; i < points.size(); i += 8) {
    const Points visit(points.begin() + i, points.begin() + i + 8);
    whole.AddPrompt(visit);
    (i % 16 == 0 ? first : second).AddPrompt(visit);
  }
  EProcess merged = second;
  merged.Merge(first);
  for (size_t b = 0; b < kBets.size(); ++b) EXPECT_NEAR(whole.log_level()[b], merged.log_level()[b], 1e-12);
  EXPECT_EQ(80, merged.prompts());
  EXPECT_NEAR(whole.e(), merged.e(), 1e-9 * whole.e());
}

TEST(EProcess, CertainMistakesStayFinite) {
  EProcess process;
  for (int i = 0; i < 2000; ++i) process.AddPrompt({{1.0, 0.0, 0}});
  EXPECT_TRUE(process.e() > 20.0);
  EXPECT_FALSE(std::isnan(process.e()));
}

}  // namespace
}  // namespace candor::calibration
