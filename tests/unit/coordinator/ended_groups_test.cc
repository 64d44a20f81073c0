// What a checkpoint covers is put away: a run may be long, the coordinator stays small; and a learner that goes back finds it all.
#include "coordinator/ended_groups.h"

#include "coordinator/accounting.h"
#include "state_fixture.h"

namespace candor {
namespace {

using state_fixture::Fixture;
using state_fixture::Plan;

RunPlan LongPlan(uint64_t steps) {
  RunPlan plan = Plan();
  plan.steps = steps;
  plan.evals = {{"dev", 3, 10}};
  return plan;
}

void AnswerEvals(Fixture& f) {
  std::vector<GroupId> open;
  for (const auto& [id, group] : f.state.groups())
    if (IsEvalGroup(id) && group.phase == GroupPhase::kOpen) open.push_back(id);
  for (GroupId id : open) f.Score(id);
}

void LearnWithCheckpoints(Fixture& f, uint64_t from, uint64_t to, uint64_t incarnation = 1) {
  for (uint64_t step = from; step <= to; ++step) {
    AnswerEvals(f);
    for (uint32_t p = 0; p < 2; ++p)
      if (const GroupPhase phase = f.state.StandOf(MakeGroupId(step, p))->phase; phase == GroupPhase::kOpen || phase == GroupPhase::kLeased)
        f.Score(MakeGroupId(step, p));
    const StepPlan plan = f.PlanOf(step, incarnation);
    ASSERT_TRUE(plan.ready) << plan.waiting_for;
    f.Done(step, plan.plan);
    if (step % 5 == 0) f.Say<Ack>(Role::kTrainer, CheckpointDone{{step}, "c", "h", 0, 5});
  }
  AnswerEvals(f);
}

TEST(EndedGroups, ALongRunKeepsFewGroupsAndVersionsAtHand) {
  Fixture f(LongPlan(1000));
  LearnWithCheckpoints(f, 1, 300);
  const size_t groups = f.state.groups().size(), versions = f.state.versions().size();
  LearnWithCheckpoints(f, 301, 900);
  EXPECT_EQ(f.state.groups().size(), groups);
  EXPECT_EQ(f.state.versions().size(), versions);
  EXPECT_LT(groups, 30u);
  EXPECT_LT(versions, 210u);
  uint64_t trained = 0, evaluated = 0;
  f.state.ForEachGroup([&](GroupId, GroupStand stand) {
    trained += stand.phase == GroupPhase::kTrained, evaluated += stand.phase == GroupPhase::kEvaluated;
  });
  EXPECT_EQ(trained, 1800u);
  EXPECT_EQ(trained, f.state.CountOf(GroupPhase::kTrained));
  EXPECT_EQ(evaluated, 91u * 3);
  EXPECT_EQ(f.state.StandOf(MakeGroupId(1, 0))->phase, GroupPhase::kTrained);
  EXPECT_FALSE(f.state.StandOf(MakeGroupId(1, 2)));
}

TEST(EndedGroups, ALateSecondResultIsForgottenAndChangesNothing) {
  Fixture f(LongPlan(100));
  GroupScored late = f.Header(MakeGroupId(1, 0));
  LearnWithCheckpoints(f, 1, 20);
  ASSERT_FALSE(f.state.groups().count(late.group));
  const size_t records = f.ledger.size();
  const Ack ack = f.Say<Ack>(Role::kReward, late);
  EXPECT_TRUE(ack.accepted) << ack.reason;
  EXPECT_EQ(ack.forget, std::vector<GroupId>{late.group});
  GroupScored evaluation = late;
  evaluation.group = MakeEvalGroupId(0, {10}, 2);
  EXPECT_TRUE(f.Say<Ack>(Role::kReward, evaluation).accepted);
  GroupScored never = late;
  never.group = MakeGroupId(1, 7);
  EXPECT_FALSE(f.Say<Ack>(Role::kReward, never).accepted);
  EXPECT_EQ(f.ledger.size(), records);
  // A group that is still open, written by a version of long ago.
  GroupScored stale = f.Header(MakeGroupId(21, 0));
  stale.oldest_version = stale.newest_version = {2};
  f.Say<Ack>(Role::kReward, stale);
  EXPECT_EQ(f.state.StandOf(stale.group)->drop, DropReason::kStale);
}

// Two learners for a while: the new one names the version of its checkpoint, then the old one's next checkpoint is done.
TEST(EndedGroups, AVersionThatALearnerGoesBackToIsNotForgottenInBetween) {
  Fixture f(LongPlan(40));
  LearnWithCheckpoints(f, 1, 10);
  f.Say<Ack>(Role::kTrainer, VersionAnnounce{f.state.versions().at({5}), {5}});  // known: nothing to record
  LearnWithCheckpoints(f, 11, 15);
  EXPECT_EQ(f.state.covered().value, 10u) << "the checkpoint before the newest, beyond which nobody has to go back";
  EXPECT_FALSE(f.PlanOf(6, 9).ready);
  EXPECT_EQ(f.state.last_done().value, 5u);
  EXPECT_TRUE(f.state.versions().contains({5}));
  EXPECT_EQ(f.Lease().leases.at(0).group, MakeGroupId(6, 0));
}

// The learner goes back behind what its checkpoints let go: evaluations of the versions that it makes anew are asked anew, all rows of
// them.
TEST(EndedGroups, EvaluationsOfAnAbandonedLineageAreAskedAgain) {
  Fixture f(LongPlan(30));
  LearnWithCheckpoints(f, 1, 19);
  for (uint32_t p = 0; p < 2; ++p) f.Score(MakeGroupId(20, p));
  f.Done(20, f.PlanOf(20).plan);  // version 20: one row is answered, one at work, one waits
  f.Score(MakeEvalGroupId(0, {20}, 0));
  const GroupScored late = f.Header(MakeEvalGroupId(0, {20}, 1));
  ASSERT_EQ(f.Lease("rollout-0", 1).leases.at(0).group, late.group);
  f.Say<Ack>(Role::kTrainer, VersionAnnounce{{{5}, "m", "h5"}, {5}});  // its first word
  EXPECT_FALSE(f.PlanOf(6, 9).ready);
  const Ack ghost = f.Say<Ack>(Role::kReward, late);
  EXPECT_FALSE(ghost.accepted);
  EXPECT_EQ(ghost.forget, std::vector<GroupId>{late.group});
  EXPECT_EQ(f.state.CountOf(GroupPhase::kEvaluated), 3u) << "of version 0 alone";
  const auto cancelled = f.Say<HeartbeatReply>(Role::kRollout, WorkerHeartbeat{"rollout-0", {1}, {{late.group, 5}}, {}}).cancelled;
  EXPECT_EQ(cancelled, std::vector<GroupId>{late.group});
  const size_t before = f.ledger.size();
  LearnWithCheckpoints(f, 6, 30, 9);
  std::map<uint64_t, uint32_t> answered;  // version -> rows
  for (size_t i = before; i < f.ledger.size(); ++i)
    if (auto* scored = std::get_if<GroupScored>(&f.ledger[i]); scored && IsEvalGroup(scored->group))
      ++answered[EvalVersionOf(scored->group).value];
  EXPECT_EQ(answered, (std::map<uint64_t, uint32_t>{{10, 3}, {20, 3}, {30, 3}}));
  EXPECT_EQ(f.state.CountOf(GroupPhase::kEvaluated), 12u);
  EXPECT_EQ(f.state.CountOf(GroupPhase::kDropped), 0u);
  EXPECT_TRUE(f.state.finished());
  Auditor auditor(LongPlan(30));
  CoordinatorState again(LongPlan(30), {1000, 5000, 3, 100}, 2);
  for (const LedgerRecord& record : f.ledger) {
    auditor.Add(record);
    ASSERT_TRUE(again.Replay(*DecodeRecord(EncodeRecord(record))));
  }
  EXPECT_TRUE(auditor.Result().Balances()) << BalanceText(auditor.Result());
  EXPECT_EQ(auditor.Result().evaluated, 12u);
  EXPECT_EQ(again.CountOf(GroupPhase::kEvaluated), 12u);
  EXPECT_TRUE(again.finished());
}

// All checkpoints but an old one turned out to be damaged.
TEST(EndedGroups, ALearnerThatGoesBackFindsThemWithTheSamePrompts) {
  Fixture f(LongPlan(40));
  std::map<GroupId, uint32_t> rows;
  for (uint64_t step = 1; step <= 30; ++step) {
    for (uint32_t p = 0; p < 2; ++p) rows[MakeGroupId(step, p)] = f.state.groups().at(MakeGroupId(step, p)).prompt.row;
    LearnWithCheckpoints(f, step, step);
  }
  f.Say<Ack>(Role::kTrainer, VersionAnnounce{{{5}, "m", "h5"}, {5}});  // its first word
  EXPECT_FALSE(f.PlanOf(6, 9).ready);
  EXPECT_EQ(f.state.last_done().value, 5u);
  for (uint64_t step = 6; step <= 30; ++step)
    for (uint32_t p = 0; p < 2; ++p) {
      const GroupState& group = f.state.groups().at(MakeGroupId(step, p));
      EXPECT_EQ(group.phase, step <= 25 ? GroupPhase::kOpen : GroupPhase::kScored) << "what is still spooled is not generated again";
      EXPECT_EQ(group.prompt.row, rows[MakeGroupId(step, p)]);
      EXPECT_EQ(group.prompt.dataset, "train");
    }
  EXPECT_EQ(f.Lease().leases.at(0).group, MakeGroupId(6, 0)) << "nothing that was evaluated is asked again";
  LearnWithCheckpoints(f, 6, 40, 9);
  EXPECT_EQ(f.state.CountOf(GroupPhase::kTrained), 80u);
  EXPECT_EQ(f.state.CountOf(GroupPhase::kEvaluated), 15u);
  CoordinatorState again(LongPlan(40), {1000, 5000, 3, 100}, 2);
  for (const LedgerRecord& record : f.ledger) ASSERT_TRUE(again.Replay(*DecodeRecord(EncodeRecord(record))));
  uint64_t compared = 0;
  f.state.ForEachGroup([&](GroupId id, GroupStand stand) {
    EXPECT_EQ(again.StandOf(id)->phase, stand.phase) << id.value;
    ++compared;
  });
  EXPECT_EQ(compared, 95u);
  EXPECT_EQ(again.groups().size(), f.state.groups().size());
  EXPECT_EQ(again.versions().size(), f.state.versions().size());
}

}  // namespace
}  // namespace candor
