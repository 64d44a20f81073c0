// The filter whose threshold follows the run: RLPR's moving mean by hand, and that arrival order, a restart and a learner that goes back
// change nothing.
#include "coordinator/moving_filter.h"

#include "coordinator/ledger.h"
#include "state_fixture.h"

namespace candor {
namespace {

using state_fixture::Fixture;
using state_fixture::Plan;

constexpr MovingFilterPlan kPublished{true, 0.5, 0.99, 6, 11};

GroupScored Deviating(double deviation) {
  GroupScored header;
  header.traces = 8;
  header.sums["reward/value_std"] = 8 * deviation;
  return header;
}

TEST(MovingFilter, TheThresholdIsHalfTheMeanOfStepsSixToTenAndMovesByAHundredth) {
  MovingFilter filter(kPublished);
  for (uint64_t step = 1; step <= 5; ++step) filter.Learned({step}, {9.0});  // too early to count
  for (uint64_t step = 6; step <= 10; ++step) {
    EXPECT_FALSE(filter.ThresholdAt({step}).has_value());
    filter.Learned({step}, {0.02 * static_cast<double>(step), 0.02 * static_cast<double>(step) + 0.08});  // means .16, .18, .20, .22, .24
  }
  EXPECT_NEAR(filter.ThresholdAt({11}).value(), 0.5 * 0.2, 1e-12);
  EXPECT_TRUE(filter.Keeps({11}, Deviating(0.1001)));
  EXPECT_FALSE(filter.Keeps({11}, Deviating(0.0999)));
  EXPECT_TRUE(filter.Keeps({10}, Deviating(0.0))) << "before its first step it drops nothing";
  EXPECT_TRUE(filter.Keeps({11}, GroupScored{})) << "what was not measured is not judged";
  filter.Learned({11}, {0.4});
  EXPECT_NEAR(filter.ThresholdAt({12}).value(), 0.5 * (0.99 * 0.2 + 0.01 * 0.4), 1e-12);
  EXPECT_NEAR(filter.ThresholdAt({11}).value(), 0.1, 1e-12) << "a step is judged by those before it";
  filter.Learned({12}, {});
  EXPECT_NEAR(filter.ThresholdAt({13}).value(), 0.101, 1e-12) << "a step that measured nothing leaves it where it was";
  filter.Undo({11});
  EXPECT_NEAR(filter.ThresholdAt({12}).value(), 0.1, 1e-12);
  EXPECT_FALSE(MovingFilter({}).ThresholdAt({100}).has_value());
}

RunPlan Filtered(bool on = true) {
  RunPlan plan = Plan(1);
  plan.steps = 20;
  plan.moving_filter = {on, 0.5, 0.9, 2, 4};
  return plan;
}

// Group 0 of every step deviates by .2, group 1 by .02, so that the second falls below half of their mean. `reversed`: it arrives first.
void Live(Fixture& f, uint64_t from, uint64_t through, uint64_t incarnation = 1, bool reversed = false) {
  for (uint64_t step = from; step <= through; ++step) {
    for (uint32_t i = 0; i < 2; ++i) {
      const uint32_t position = reversed ? 1 - i : i;
      GroupScored header = f.Header(MakeGroupId(step, position));
      header.sums["reward/value_std"] = header.traces * (position == 0 ? 0.2 : 0.02);
      f.Say<Ack>(Role::kReward, header);
    }
    f.Done(step, f.PlanOf(step, incarnation).plan);
  }
}

std::vector<DropReason> Drops(const CoordinatorState& state, uint64_t through) {
  std::vector<DropReason> drops;
  for (uint64_t step = 1; step <= through; ++step)
    for (uint32_t p = 0; p < 2; ++p) drops.push_back(state.StandOf(MakeGroupId(step, p)).value().drop);
  return drops;
}

TEST(MovingFilter, APlanKeepsWeakGroupsOutOfThePolicyGradient) {
  Fixture f(Filtered()), off(Filtered(false));
  Live(f, 1, 6), Live(off, 1, 6);
  for (const LedgerRecord& record : f.ledger) {
    const auto* logged = std::get_if<PlanLogged>(&record);
    for (size_t p = 0; logged != nullptr && p < 2; ++p)
      EXPECT_EQ(logged->plan.groups[p].drop, p == 1 && logged->plan.step.value >= 4 ? DropReason::kLowVariance : DropReason::kNone)
          << logged->plan.step.value;
  }
  EXPECT_TRUE(IsFiltered(DropReason::kLowVariance)) << "it still trains its slot";
  EXPECT_EQ(Drops(off.state, 6), std::vector<DropReason>(12, DropReason::kNone));
}

TEST(MovingFilter, ArrivalAndAReplayOfTheLedgerChangeNothing) {
  Fixture f(Filtered()), reversed(Filtered());
  Live(f, 1, 9), Live(reversed, 1, 9, 1, true);
  EXPECT_EQ(Drops(f.state, 9), Drops(reversed.state, 9));
  CoordinatorState replayed(Filtered(), {1000, 5000, 3, 100}, 2);
  for (const LedgerRecord& record : f.ledger) ASSERT_TRUE(replayed.Replay(DecodeRecord(EncodeRecord(record)).value()));
  EXPECT_EQ(Drops(replayed, 9), Drops(f.state, 9));
  EXPECT_DOUBLE_EQ(replayed.moving_filter().ThresholdAt({10}).value(), f.state.moving_filter().ThresholdAt({10}).value());
}

TEST(MovingFilter, ALearnerThatGoesBackIsJudgedByTheSameThresholds) {
  Fixture straight(Filtered()), back(Filtered());
  Live(straight, 1, 9);
  Live(back, 1, 7);
  back.PlanOf(5, 2);  // a new life at step 5, whose groups are still spooled
  for (uint64_t step = 5; step <= 7; ++step) back.Done(step, back.PlanOf(step, 2).plan);
  Live(back, 8, 9, 2);
  EXPECT_EQ(Drops(back.state, 9), Drops(straight.state, 9));
  EXPECT_NEAR(back.state.moving_filter().ThresholdAt({10}).value(), straight.state.moving_filter().ThresholdAt({10}).value(), 1e-15);
}

TEST(MovingFilter, AStepIsFilledUpByWhatPassesIt) {
  RunPlan plan = Filtered();
  plan.curriculum.fill_batches = 4;
  Fixture f(plan);
  Live(f, 1, 3);
  for (uint32_t p = 0; p < 2; ++p) {
    GroupScored header = f.Header(MakeGroupId(4, p));
    header.sums["reward/value_std"] = header.traces * (p == 0 ? 0.2 : 0.02);
    f.Say<Ack>(Role::kReward, header);
  }
  EXPECT_FALSE(f.PlanOf(4).ready);
  EXPECT_GT(f.state.WaveSize({4}), 2u);
}

TEST(MovingFilter, ALedgerKeepsItsNumbersAndARunPlanWithoutAStepToAverageIsRefused) {
  EXPECT_EQ(PlanFromJson(PlanToJson(Filtered()))->moving_filter, Filtered().moving_filter);
  EXPECT_EQ(PlanToJson(Plan()).find("moving_filter"), std::string::npos);
  RunPlan plan = Filtered();
  plan.moving_filter.average_from = 4;
  EXPECT_FALSE(CheckRunPlan(plan).has_value());
}

}  // namespace
}  // namespace candor
