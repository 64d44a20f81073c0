// The rules one by one: staleness and version gate, one holder per lease, silence and progress, drops, plans and votes, the learner's
// lives, and what each role may say.
#include "coordinator/state.h"

#include <algorithm>
#include <set>

#include "state_fixture.h"

namespace candor {
namespace {

using state_fixture::Fixture;
using state_fixture::Plan;

TEST(Leases, NothingGoesOutBeforeAVersionAndARewardWorkerAreThere) {
  Fixture f(Plan(), false);
  EXPECT_EQ(f.Lease().waiting_for, "a reward worker");
  f.Say<Welcome>(Role::kReward, Hello{"reward", "reward-0", {7}, "tcp://reward:1", {}, {}});
  EXPECT_EQ(f.Lease().waiting_for, "policy version 0");
  f.Say<Ack>(Role::kTrainer, VersionAnnounce{{{0}, "m", "h0"}, {0}});
  EXPECT_EQ(f.Lease().leases.size(), 4u);
}

TEST(Leases, StalenessBoundsWaves) {
  for (uint64_t bound : {0, 1, 3}) {
    Fixture f(Plan(bound));
    LeaseGrant grant = f.Lease();
    EXPECT_EQ(grant.leases.size(), 2 * (1 + bound));
    EXPECT_EQ(f.Lease().waiting_for, "step 1 (staleness bound " + std::to_string(bound) + ")");
    f.Learn(1);
    grant = f.Lease();
    ASSERT_EQ(grant.leases.size(), 2u);
    EXPECT_EQ(grant.leases[0].wave.value, 2 + bound);
    EXPECT_EQ(grant.leases[0].min_version.value, 1u);
    EXPECT_EQ(grant.leases[0].max_version.value, 1 + bound);
    EXPECT_EQ(grant.newest.version.value, 1u);
  }
}

TEST(Leases, DeterministicModeAsksForOneVersion) {
  RunPlan plan = Plan(1);
  plan.deterministic = true;
  Fixture f(plan);
  for (const Lease& lease : f.Lease().leases) EXPECT_EQ(lease.min_version, lease.max_version);
  GroupScored header = f.Header(MakeGroupId(2, 0));
  header.newest_version = {1};
  f.Say<Ack>(Role::kReward, header);
  EXPECT_EQ(f.state.groups().at(MakeGroupId(2, 0)).drop, DropReason::kGhostVersion);
}

TEST(Leases, ADoubledRequestGetsTheSameLeasesAndANewOneOthers) {
  Fixture f;
  LeaseRequest request{"rollout-0", {1}, {0}, 1};
  auto ask = [&](uint64_t id) { return std::get<LeaseGrant>(*f.state.Receive(Role::kRollout, id, request, f.now).reply); };
  LeaseGrant first = ask(50), again = ask(50), next = ask(51);
  ASSERT_EQ(first.leases.size(), 1u);
  EXPECT_EQ(again.leases.at(0).group, first.leases[0].group);
  EXPECT_NE(next.leases.at(0).group, first.leases[0].group);
}

TEST(Leases, SilentWorkersLoseThemAndTheSameIdsGoOutAgain) {
  Fixture f;
  LeaseGrant before = f.Lease();
  f.now += 900;
  (void)f.state.Tick(f.now);
  f.Say<HeartbeatReply>(Role::kReward, WorkerHeartbeat{"reward-0", {7}, {}, {}});
  EXPECT_TRUE(f.Lease("rollout-1").leases.empty());
  f.now += 200;
  (void)f.state.Tick(f.now);
  LeaseGrant after = f.Lease("rollout-1");
  ASSERT_EQ(after.leases.size(), before.leases.size());
  for (size_t i = 0; i < after.leases.size(); ++i) EXPECT_EQ(after.leases[i].group, before.leases[i].group);
  // The first worker wakes up: its leases are not its own any more; its late result counts once all the same.
  HeartbeatReply reply = f.Say<HeartbeatReply>(Role::kRollout, WorkerHeartbeat{"rollout-0", {1}, {{before.leases[0].group, 9}}, {}});
  EXPECT_EQ(reply.cancelled, std::vector<GroupId>{before.leases[0].group});
  f.Score(before.leases[0].group);
  reply = f.Say<HeartbeatReply>(Role::kRollout, WorkerHeartbeat{"rollout-1", {1}, {{before.leases[0].group, 9}}, {}});
  EXPECT_EQ(reply.cancelled, std::vector<GroupId>{before.leases[0].group});
  GroupScored second = f.Header(before.leases[0].group);
  second.reward_worker = "reward-1", second.hash = "other";
  EXPECT_EQ(f.Say<Ack>(Role::kReward, second).forget, std::vector<GroupId>{before.leases[0].group});
  EXPECT_EQ(f.state.groups().at(before.leases[0].group).header->reward_worker, "reward-0");
}

TEST(Leases, AgeNeverKillsALeaseThatMakesProgress) {
  Fixture f;
  GroupId slow = f.Lease("rollout-0", 1).leases.at(0).group;
  auto beat = [&](uint64_t tokens) {
    for (int i = 0; i < 20; ++i) {  // 10 s
      f.now += 500;
      f.Say<HeartbeatReply>(Role::kRollout, WorkerHeartbeat{"rollout-0", {1}, {{slow, tokens += 1}}, {}});
      (void)f.state.Tick(f.now);
    }
    return tokens;
  };
  uint64_t tokens = beat(0);
  EXPECT_EQ(f.state.groups().at(slow).worker, "rollout-0");
  for (int i = 0; i < 11; ++i) {  // alive, but no token for 5.5 s
    f.now += 500;
    f.Say<HeartbeatReply>(Role::kRollout, WorkerHeartbeat{"rollout-0", {1}, {{slow, tokens}}, {}});
  }
  (void)f.state.Tick(f.now);
  EXPECT_EQ(f.state.groups().at(slow).phase, GroupPhase::kOpen);
}

TEST(Leases, ALostGrantComesBack) {
  Fixture f;
  GroupId unheard = f.Lease("rollout-0", 1).leases.at(0).group;
  for (int i = 0; i < 3; ++i) {
    f.now += 500;
    f.Say<HeartbeatReply>(Role::kRollout, WorkerHeartbeat{"rollout-0", {1}, {}, {}});
  }
  EXPECT_EQ(f.state.groups().at(unheard).phase, GroupPhase::kOpen);
}

TEST(Leases, FailuresAreCountedAndEndInADrop) {
  Fixture f;
  const GroupId id = MakeGroupId(1, 0);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(f.Lease("rollout-0", 1).leases.at(0).group, id);
    f.Say<Ack>(Role::kRollout, GroupFailed{id, "rollout-0", "out of memory", false});
  }
  EXPECT_EQ(f.state.groups().at(id).phase, GroupPhase::kDropped);
  EXPECT_EQ(f.state.groups().at(id).drop, DropReason::kFailed);
}

TEST(Members, AnOlderLifeIsRefusedForGood) {
  Fixture f;
  f.Say<Welcome>(Role::kRollout, Hello{"rollout", "rollout-0", {1}, "", {}, {}});
  GroupId id = f.Lease("rollout-0", 1).leases.at(0).group;
  f.Say<Welcome>(Role::kRollout, Hello{"rollout", "rollout-0", {2}, "", {}, {}});
  EXPECT_EQ(f.state.groups().at(id).phase, GroupPhase::kOpen);
  MessageBody reply = f.Send(Role::kRollout, LeaseRequest{"rollout-0", {1}, {0}, 1});
  ASSERT_TRUE(std::holds_alternative<Error>(reply));
  EXPECT_EQ(std::get<Error>(reply).code, ErrorCode::kUnauthorized);
}

TEST(Members, NobodySaysWhatIsNotHisToSay) {
  Fixture f;
  const std::vector<std::pair<Role, MessageBody>> forbidden = {{Role::kRollout, f.Header(MakeGroupId(1, 0))},
                                                               {Role::kRollout, PlanRequest{{1}, {1}, 1}},
                                                               {Role::kReward, StepDone{}},
                                                               {Role::kReward, LeaseRequest{"reward-0", {7}, {0}, 1}},
                                                               {Role::kTrainer, f.Header(MakeGroupId(1, 0))},
                                                               {Role::kObserver, VersionAnnounce{}},
                                                               {Role::kObserver, WorkerHeartbeat{"o", {1}, {}, {}}},
                                                               {Role::kTrainer, Hello{"rollout", "rollout-9", {1}, "", {}, {}}},
                                                               {Role::kTrainer, Welcome{}}};
  const size_t records = f.ledger.size();
  for (const auto& [role, body] : forbidden) {
    MessageBody reply = f.Send(role, body);
    EXPECT_TRUE(std::holds_alternative<Error>(reply)) << Name(role) << " " << body.index();
  }
  EXPECT_EQ(f.ledger.size(), records);
}

TEST(Scores, VersionsOutsideTheBoundEndAsDrops) {
  Fixture f;
  GroupScored ghost = f.Header(MakeGroupId(1, 0));
  ghost.newest_version = {3};
  f.Say<Ack>(Role::kReward, ghost);
  EXPECT_EQ(f.state.groups().at(ghost.group).drop, DropReason::kGhostVersion);
  f.Score(MakeGroupId(1, 1));
  f.Done(1, f.PlanOf(1).plan);
  f.Learn(2);
  GroupScored stale = f.Header(MakeGroupId(4, 0));
  stale.oldest_version = {1};
  f.Say<Ack>(Role::kReward, stale);
  EXPECT_EQ(f.state.groups().at(stale.group).drop, DropReason::kStale);
}

TEST(Scores, AnotherPromptOrAnUnknownGroupIsRefused) {
  Fixture f;
  GroupScored wrong = f.Header(MakeGroupId(1, 0));
  wrong.prompt.row += 1;
  EXPECT_FALSE(f.Say<Ack>(Role::kReward, wrong).accepted);
  GroupScored unknown = f.Header(MakeGroupId(1, 0));
  unknown.group = MakeGroupId(99, 0);
  Ack ack = f.Say<Ack>(Role::kReward, unknown);
  EXPECT_FALSE(ack.accepted);
  EXPECT_EQ(ack.forget, std::vector<GroupId>{unknown.group});
}

TEST(Plans, HoldTheWaveInIdOrderWithoutTheDropped) {
  Fixture f;
  f.Score(MakeGroupId(1, 1), DropReason::kNoVariance);
  EXPECT_EQ(f.PlanOf(1).waiting_for, "step 1: 1 of 2 groups are not scored (0 leased, 1 waiting for a worker)");
  f.Score(MakeGroupId(1, 0));
  f.Score(MakeGroupId(2, 0), DropReason::kAllUnknown);
  StepPlan plan = f.PlanOf(1);
  ASSERT_TRUE(plan.ready);
  ASSERT_EQ(plan.groups.size(), 2u);
  EXPECT_EQ(plan.groups[0].group, MakeGroupId(1, 0));
  EXPECT_EQ(plan.groups[1].drop, DropReason::kNoVariance);
  EXPECT_EQ(f.PlanOf(1).plan, plan.plan);  // asked again: the same
  f.Done(1, plan.plan);
  f.Score(MakeGroupId(2, 1));
  EXPECT_EQ(f.PlanOf(2).groups.size(), 1u);  // all unknown: not trained, not replaced
}

TEST(Plans, ABadVoteVoidsThePlan) {
  Fixture f;
  f.Score(MakeGroupId(1, 0)), f.Score(MakeGroupId(1, 1));
  StepPlan plan = f.PlanOf(1);
  f.Say<Ack>(Role::kTrainer, PlanVote{plan.plan, {1}, false, {MakeGroupId(1, 1), MakeGroupId(2, 0)}, "hash"});
  EXPECT_EQ(f.state.groups().at(MakeGroupId(1, 1)).phase, GroupPhase::kOpen);
  EXPECT_FALSE(f.PlanOf(1).ready);
  EXPECT_FALSE(f.Say<Ack>(Role::kTrainer, StepDone{{{1}, plan.plan, {1}, {}}, {{1}, "m", "h"}}).accepted);  // a void plan trains nothing
  f.Score(MakeGroupId(1, 1));
  StepPlan next = f.PlanOf(1);
  EXPECT_TRUE(next.ready);
  EXPECT_NE(next.plan, plan.plan);
  EXPECT_FALSE(f.Say<Ack>(Role::kTrainer, PlanVote{plan.plan, {1}, false, {MakeGroupId(1, 0)}, "late"}).accepted);
  EXPECT_EQ(f.PlanOf(1).plan, next.plan);
}

TEST(Plans, AVersionNeedsItsPlan) {
  Fixture f;
  EXPECT_FALSE(f.Say<Ack>(Role::kTrainer, VersionAnnounce{{{1}, "m", "h"}, {1}}).accepted);
  EXPECT_FALSE(f.Say<Ack>(Role::kTrainer, VersionAnnounce{{{7}, "m", "h"}, {7}}).accepted);
  EXPECT_EQ(f.state.newest_version().value, 0u);
}

TEST(Learner, GoesBackToItsCheckpointAndReplaysThePlan) {
  Fixture f;
  f.Learn(1);
  EXPECT_EQ(f.Say<Ack>(Role::kTrainer, CheckpointDone{{1}, "c", "h"}).spool_release_through.value, 1u);
  f.Learn(2);
  StepPlan logged = f.PlanOf(2);
  EXPECT_EQ(f.state.last_done().value, 2u);  // a late double of an old request goes back nowhere
  StepPlan again = f.PlanOf(2, 9);
  EXPECT_EQ(again.plan, logged.plan);
  EXPECT_EQ(f.state.last_done().value, 1u);
  EXPECT_EQ(f.state.segment().value, 2u);
  EXPECT_EQ(f.state.groups().at(MakeGroupId(2, 0)).phase, GroupPhase::kScored);
  MessageBody old = f.Send(Role::kTrainer, PlanRequest{{3}, {1}, 2});
  EXPECT_TRUE(std::holds_alternative<Error>(old));  // the earlier life is fenced
  f.Done(2, again.plan);
}

TEST(Learner, ALostStepReportIsInferred) {
  Fixture f;
  f.Score(MakeGroupId(1, 0)), f.Score(MakeGroupId(1, 1));
  f.PlanOf(1);
  f.Score(MakeGroupId(2, 0)), f.Score(MakeGroupId(2, 1));
  EXPECT_TRUE(f.PlanOf(2, 5).ready);  // a new life that starts behind step 1 must have done it
  EXPECT_EQ(f.state.last_done().value, 1u);
}

TEST(Restart, TheLedgerGivesTheSameState) {
  Fixture f;
  f.Learn(1);
  f.Score(MakeGroupId(2, 0), DropReason::kAllUnknown);
  f.Lease();
  CoordinatorState again(Plan(), {1000, 5000, 3, 100}, 2);
  for (const LedgerRecord& record : f.ledger) ASSERT_TRUE(again.Replay(*DecodeRecord(EncodeRecord(record))));
  ASSERT_EQ(again.groups().size(), f.state.groups().size());
  for (const auto& [id, group] : f.state.groups()) {
    GroupPhase expected = group.phase == GroupPhase::kLeased ? GroupPhase::kOpen : group.phase;  // leases are soft
    EXPECT_EQ(again.groups().at(id).phase, expected) << id.value;
    EXPECT_EQ(again.groups().at(id).prompt.row, group.prompt.row);
  }
  EXPECT_EQ(again.last_done(), f.state.last_done());
  RunPlan other = Plan();
  other.prompts_per_step = 1;
  CoordinatorState misfit(other, {}, 2);
  bool refused = false;
  for (const LedgerRecord& record : f.ledger) refused = refused || !misfit.Replay(record);
  EXPECT_TRUE(refused);
}

TEST(Evaluations, AskOneGreedyAnswerOfExactlyThatVersionAndComeFirst) {
  RunPlan plan = Plan();
  plan.evals = {{"dev", 3, 2}};
  Fixture f(plan);
  LeaseGrant grant = f.Lease("rollout-0", 3);
  for (const Lease& lease : grant.leases) {
    EXPECT_TRUE(IsEvalGroup(lease.group));
    EXPECT_EQ(lease.prompt.dataset, "dev");
    EXPECT_EQ(lease.traces, 0u);
    EXPECT_EQ(lease.greedy_traces, 1u);
    EXPECT_EQ(lease.max_version.value, 0u);
    GroupScored header = f.Header(lease.group);
    header.traces = 1;
    EXPECT_EQ(f.Say<Ack>(Role::kReward, header).forget, std::vector<GroupId>{lease.group});
  }
  EXPECT_EQ(f.state.OpenInEval(grant.leases[0].group), 0u);
  for (uint64_t step = 1; step <= 5; ++step) f.Learn(step);
  std::set<uint64_t> versions;
  for (const auto& [id, group] : f.state.groups())
    if (IsEvalGroup(id)) versions.insert(EvalVersionOf(id).value);
  EXPECT_EQ(versions, (std::set<uint64_t>{0, 2, 4, 5}));
  EXPECT_FALSE(f.state.finished());  // not before its evaluations are in
}

TEST(Finish, WaitsForTheLastCheckpoint) {
  Fixture f;
  for (uint64_t step = 1; step <= 5; ++step) f.Learn(step);
  f.Say<Ack>(Role::kTrainer, CheckpointDone{{4}, "c", "h"});
  EXPECT_FALSE(f.state.finished());  // the coordinator would leave while the learner writes for longer than it lingers
  EXPECT_TRUE(f.Say<Ack>(Role::kTrainer, CheckpointDone{{5}, "c", "h"}).accepted);
  EXPECT_TRUE(f.state.finished());
}

TEST(PromptOrder, EveryPassVisitsEveryRowOnce) {
  RunPlan plan = Plan();
  plan.prompts_per_step = 7;
  plan.datasets = {{"a", 20, 1.0}, {"b", 15, 2.0}};
  PromptOrder order(plan), twin(plan);
  std::map<std::string, std::vector<uint32_t>> visits;
  for (uint64_t wave = 1; wave <= 50; ++wave)
    for (uint32_t p = 0; p < 7; ++p) {
      PromptRef ref = order.At({wave}, p);
      visits[ref.dataset].push_back(ref.row);
    }
  EXPECT_EQ(visits["a"].size(), 140u);  // 20 : 15 x 2 of 350
  EXPECT_EQ(visits["b"].size(), 210u);
  for (auto& [name, rows] : visits) {
    const size_t n = name == "a" ? 20 : 15;
    EXPECT_FALSE(std::equal(rows.begin(), rows.begin() + static_cast<long>(n), rows.begin() + static_cast<long>(n)))
        << "passes must differ";
    for (size_t pass = 0; pass + 1 < rows.size() / n; ++pass)
      EXPECT_EQ(std::set<uint32_t>(rows.begin() + static_cast<long>(pass * n), rows.begin() + static_cast<long>(pass * n + n)).size(), n);
  }
  EXPECT_EQ(twin.At({50}, 3).row, order.At({50}, 3).row);  // no matter what was asked before
}

TEST(Balance, RanksDifferByLessThanTheSmallestGroup) {
  std::vector<PlannedGroup> groups(40);
  uint32_t smallest = UINT32_MAX;
  for (size_t i = 0; i < groups.size(); ++i)
    groups[i].tokens = static_cast<uint32_t>(50 + (i * 37) % 101), smallest = std::min(smallest, groups[i].tokens);
  auto spread = [&] {
    std::vector<uint64_t> load(3, 0);
    for (const PlannedGroup& group : groups) load.at(group.rank) += group.tokens;
    return *std::max_element(load.begin(), load.end()) - *std::min_element(load.begin(), load.end());
  };
  for (size_t i = 0; i < groups.size(); ++i) groups[i].rank = i < 14 ? 0 : i < 27 ? 1 : 2;  // by position, as a control
  EXPECT_GT(spread(), smallest);
  BalanceOverRanks(groups, 3);
  EXPECT_LE(spread(), smallest);
}

}  // namespace
}  // namespace candor
