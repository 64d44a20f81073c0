// The learner goes back: to a checkpoint whose successors turned out to be damaged, with and without the groups' payload.
#include "state_fixture.h"

namespace candor {
namespace {

using state_fixture::Fixture;
using state_fixture::Plan;

// The newest checkpoint turned out to be damaged: the learner starts from the one before.
TEST(Rollback, ReplaysTheStepsThatTheNewestCheckpointLeavesReplayable) {
  Fixture f;
  f.Learn(1), f.Learn(2);
  EXPECT_EQ(f.Say<Ack>(Role::kTrainer, CheckpointDone{{2}, "c", "h", 0, 1}).spool_release_through.value, 1u);
  EXPECT_EQ(f.state.checkpointed().value, 2u);
  StepPlan again = f.PlanOf(2, 9);
  EXPECT_TRUE(again.ready);  // from its logged plan
  EXPECT_EQ(f.state.segment().value, 2u);
  EXPECT_EQ(f.state.checkpointed().value, 1u);
  f.Done(2, again.plan);
  EXPECT_EQ(f.state.groups().at(MakeGroupId(2, 0)).phase, GroupPhase::kTrained);
}

TEST(Rollback, GroupsWhosePayloadHasGoneAreGeneratedAgain) {
  Fixture f;
  for (uint64_t step = 1; step <= 3; ++step) f.Learn(step);
  f.Say<Ack>(Role::kTrainer, CheckpointDone{{3}, "c", "h"});
  f.Say<Ack>(Role::kTrainer, VersionAnnounce{{{1}, "m", "h1"}, {1}});  // a learner's first word
  EXPECT_FALSE(f.PlanOf(2, 9).ready);
  EXPECT_EQ(f.state.last_done().value, 1u);
  EXPECT_EQ(f.state.newest_version().value, 1u);  // 2 and 3 are of the abandoned lineage
  EXPECT_EQ(f.state.groups().at(MakeGroupId(2, 0)).phase, GroupPhase::kOpen);
  EXPECT_EQ(f.state.StandOf(MakeGroupId(1, 0))->phase, GroupPhase::kTrained);
  GroupScored late = f.Header(MakeGroupId(2, 0));
  late.newest_version = {3};
  f.Say<Ack>(Role::kReward, late);
  EXPECT_EQ(f.state.groups().at(MakeGroupId(2, 0)).drop, DropReason::kGhostVersion);
  for (uint64_t step = 2; step <= 5; ++step)
    for (uint32_t position = 0; position < 2; ++position)
      if (step > 2 || position > 0) {
        GroupScored header = f.Header(MakeGroupId(step, position));
        header.oldest_version = header.newest_version = {step - 1};
        f.Say<Ack>(Role::kReward, header);
        if (position == 1) {
          StepPlan plan = f.PlanOf(step, 9);
          EXPECT_TRUE(plan.ready) << plan.waiting_for;
          EXPECT_EQ(plan.groups.size(), step == 2 ? 1u : 2u);
          f.Done(step, plan.plan);
        }
      }
  EXPECT_TRUE(f.Say<Ack>(Role::kTrainer, CheckpointDone{{5}, "c", "h"}).accepted);
  EXPECT_TRUE(f.state.finished());
  CoordinatorState again(Plan(), {1000, 5000, 3, 100}, 2);
  for (const LedgerRecord& record : f.ledger) ASSERT_TRUE(again.Replay(*DecodeRecord(EncodeRecord(record))));
  f.state.ForEachGroup([&](GroupId id, GroupStand stand) { EXPECT_EQ(again.StandOf(id)->phase, stand.phase) << id.value; });
}

}  // namespace
}  // namespace candor
