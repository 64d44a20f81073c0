// Many workers and bad moments: a hundred join at once, a stopped worker comes back late, reward workers move, and the counters that stand
// in for scans over all groups agree with the scans.
#include <gtest/gtest.h>

#include <algorithm>

#include "coordinator/alarms.h"
#include "coordinator/state.h"

namespace candor {
namespace {

RunPlan PlanOfPrompts(uint32_t prompts) {
  RunPlan plan;
  plan.run_id = "r", plan.steps = 5, plan.prompts_per_step = prompts, plan.group_size = 4, plan.staleness = 0;
  plan.datasets = {{"train", 50, 1.0}};
  return plan;
}

class Hardening : public ::testing::Test {
 protected:
  explicit Hardening(uint32_t prompts = 64) : state(PlanOfPrompts(prompts), {3000, 60000, 5, 256}, 1) {
    Say(Role::kTrainer, VersionAnnounce{{{0}, "m", "h"}, {0}});
    Say(Role::kReward, Hello{"reward", "reward-0", {1}, "tcp://a", {}, {}});
  }
  template <typename Reply = Ack>
  Reply Say(Role role, MessageBody body) {
    last = state.Receive(role, ++request, body, now);
    return std::get_if<Reply>(&*last.reply) ? std::get<Reply>(*last.reply) : Reply{};
  }
  void Join(const std::string& worker) { Say<Welcome>(Role::kRollout, Hello{"rollout", worker, {7}, "", {}, {}}); }
  std::vector<Lease> Ask(const std::string& worker, uint32_t groups) {
    return Say<LeaseGrant>(Role::kRollout, LeaseRequest{worker, {7}, {0}, groups}).leases;
  }
  Ack Score(GroupId id, const std::string& reward, const std::string& hash) {
    GroupScored header;
    header.group = id, header.prompt = state.groups().at(id).prompt, header.wave = {1}, header.hash = hash, header.traces = 4;
    header.reward_worker = reward, header.correct = 2, header.wrong = 2;
    return Say(Role::kReward, header);
  }
  CoordinatorState state;
  Actions last;
  uint64_t request = 0;
  int64_t now = 0;
};

TEST_F(Hardening, AHundredJoinAtOnceAndEveryGroupHasOneHolder) {
  for (int i = 0; i < 100; ++i) Join("rollout-" + std::to_string(i));
  std::set<GroupId> given;
  for (int i = 0; i < 100; ++i)
    for (const Lease& lease : Ask("rollout-" + std::to_string(i), 1)) EXPECT_TRUE(given.insert(lease.group).second);
  EXPECT_EQ(given.size(), 64u) << "one wave, no more: backpressure";
  EXPECT_EQ(state.members().size(), 101u);
  EXPECT_EQ(state.CountOf(GroupPhase::kLeased), 64u);
}

TEST_F(Hardening, AStoppedWorkersLateResultIsRefusedAndCountedOnce) {
  Join("rollout-0"), Join("rollout-1");
  const GroupId id = Ask("rollout-0", 1).at(0).group;
  now = 2000, Say<HeartbeatReply>(Role::kRollout, WorkerHeartbeat{"rollout-1", {7}, {}, {}});
  Say<HeartbeatReply>(Role::kReward, WorkerHeartbeat{"reward-0", {1}, {}, {}});
  now = 4000, state.Tick(now);  // rollout-0 is stopped: its lease goes to others
  ASSERT_EQ(Ask("rollout-1", 1).at(0).group, id);
  EXPECT_TRUE(Score(id, "reward-0", "first").accepted);
  EXPECT_EQ(last.records.size(), 1u);
  const auto back = Say<HeartbeatReply>(Role::kRollout, WorkerHeartbeat{"rollout-0", {7}, {{id, 90}}, {}});
  EXPECT_EQ(back.cancelled, std::vector<GroupId>{id});
  const Ack late = Score(id, "reward-1", "second");
  EXPECT_TRUE(last.records.empty());
  EXPECT_TRUE(last.observed.empty());
  EXPECT_EQ(late.forget, std::vector<GroupId>{id});
}

TEST_F(Hardening, RewardWorkersThatMoveOrLeaveAreKnownAtOnce) {
  Join("rollout-0");
  auto endpoints = [this] { return Say<HeartbeatReply>(Role::kRollout, WorkerHeartbeat{"rollout-0", {7}, {}, {}}).reward_endpoints; };
  EXPECT_EQ(endpoints(), std::vector<std::string>{"tcp://a"});
  Say(Role::kReward, Hello{"reward", "reward-1", {2}, "tcp://b", {}, {}});
  EXPECT_EQ(endpoints(), (std::vector<std::string>{"tcp://a", "tcp://b"}));
  Say(Role::kReward, Hello{"reward", "reward-1", {3}, "tcp://c", {}, {}});
  EXPECT_EQ(endpoints(), (std::vector<std::string>{"tcp://a", "tcp://c"}));
  Say(Role::kReward, WorkerHeartbeat{"reward-1", {3}, {}, {}});
  now = 5000;
  Say(Role::kReward, WorkerHeartbeat{"reward-0", {1}, {}, {}});
  EXPECT_EQ(endpoints().size(), 2u);
  state.Tick(now);  // reward-1 has been silent since its heartbeat
  EXPECT_EQ(endpoints(), std::vector<std::string>{"tcp://a"});
}

TEST_F(Hardening, ALostWorkerIsAnAlarmUntilItIsBackOrLongGone) {
  Join("rollout-0"), Join("rollout-1");
  const auto silent = [this] {
    std::vector<std::string> what;
    for (const Alarm& alarm : PresentAlarms(state, {}, now))
      if (alarm.name == "worker_silent") what.push_back(alarm.what);
    return what;
  };
  const auto live = [this](const std::string& name) {
    Say<HeartbeatReply>(Role::kRollout, WorkerHeartbeat{name, {7}, {}, {}});
    Say<HeartbeatReply>(Role::kReward, WorkerHeartbeat{"reward-0", {1}, {}, {}});
  };
  now = 2000, live("rollout-1"), live("rollout-0"), state.Tick(now);
  EXPECT_TRUE(silent().empty());
  now = 4000, live("rollout-0");
  now = 6000, live("rollout-0"), state.Tick(now);
  EXPECT_EQ(state.members().count("rollout-1"), 0u) << "its leases went to others";
  EXPECT_EQ(silent(), std::vector<std::string>{"rollout-1 has not been heard for 4 s: what it held was given to others"});
  live("rollout-1");
  EXPECT_TRUE(silent().empty()) << "it is back";
  now = 20000, live("rollout-0"), state.Tick(now);
  EXPECT_EQ(silent().size(), 1u);
  now = 6000 + kLostKeptMs + 1, live("rollout-0"), state.Tick(now);
  EXPECT_TRUE(silent().empty()) << "nobody waits for it any more";
}

// Nothing but its hello was ever heard of it: without a watch from then on rollouts would hand their groups to it for ever.
TEST_F(Hardening, ARewardWorkerThatDiesBeforeItsFirstHeartbeatIsNoticed) {
  Join("rollout-0");
  const auto beat = [this] { return Say<HeartbeatReply>(Role::kRollout, WorkerHeartbeat{"rollout-0", {7}, {}, {}}).reward_endpoints; };
  now = 3000, state.Tick(now);
  EXPECT_EQ(beat(), std::vector<std::string>{"tcp://a"});
  EXPECT_TRUE(std::ranges::none_of(PresentAlarms(state, {}, now), [](const Alarm& alarm) { return alarm.name == "worker_silent"; }));
  now = 3001;
  EXPECT_TRUE(
      std::ranges::any_of(PresentAlarms(state, {}, now), [](const Alarm& alarm) { return alarm.what.starts_with("reward-0 has not"); }));
  state.Tick(now);
  EXPECT_TRUE(beat().empty());
}

// The record of confidences is kept by wave: a header with another one would be counted in a step to which it does not belong.
TEST_F(Hardening, AResultOfAnotherWaveIsRefusedByNameAndTheGroupStaysToBeDone) {
  Join("rollout-0");
  const GroupId id = Ask("rollout-0", 1).at(0).group;
  GroupScored header;
  header.group = id, header.prompt = state.groups().at(id).prompt, header.wave = {2}, header.hash = "h", header.traces = 4;
  header.reward_worker = "reward-0", header.correct = 2, header.wrong = 2;
  const Ack ack = Say(Role::kReward, header);
  EXPECT_FALSE(ack.accepted);
  EXPECT_NE(ack.reason.find("belongs to wave 1, not to wave 2"), std::string::npos) << ack.reason;
  EXPECT_EQ(ack.forget, std::vector<GroupId>{id});
  EXPECT_TRUE(last.records.empty());
  EXPECT_TRUE(last.observed.empty());
  EXPECT_EQ(state.StandOf(id)->phase, GroupPhase::kLeased);
  EXPECT_TRUE(Score(id, "reward-0", "h").accepted) << "the true one counts";
  EXPECT_EQ(state.StandOf(id)->phase, GroupPhase::kScored);
}

TEST_F(Hardening, OfWorkersThatStartAgainAndAgainFewPastLivesAreKept) {
  const auto hello = [this](const std::string& worker, uint64_t life) {
    return Say<Welcome>(Role::kRollout, Hello{"rollout", worker, {life}, "", {}, {}}).run_id == "r";
  };
  for (uint64_t life = 1; life <= 1000; ++life) ASSERT_TRUE(hello("rollout-0", life));
  EXPECT_LE(state.PastLives(), kPastLivesKept);
  for (uint64_t life = 1000 - kPastLivesKept; life < 1000; ++life) EXPECT_FALSE(hello("rollout-0", life)) << "a newer one has its name";
  EXPECT_TRUE(hello("rollout-0", 1000));
  // One that is still there to speak is not the one that is forgotten.
  for (uint64_t life = 1001; life <= 1100; ++life) {
    ASSERT_TRUE(hello("rollout-0", life));
    ASSERT_FALSE(hello("rollout-0", 999));
  }
  // Names that come and go, as those of workers that join a run.
  for (uint64_t name = 1; name <= 1000; ++name) ASSERT_TRUE(hello("rollout-" + std::to_string(name), 1));
  for (uint64_t name = 1; name <= 1000; ++name) ASSERT_TRUE(hello("rollout-" + std::to_string(name), 2));
  now = 5000, state.Tick(now);
  EXPECT_FALSE(hello("rollout-7", 1)) << "its name may come back";
  now += kLostKeptMs + 1, state.Tick(now);
  EXPECT_EQ(state.PastLives(), 0u);
}

TEST_F(Hardening, CountersAgreeWithTheScan) {
  Join("rollout-0");
  const std::vector<Lease> leases = Ask("rollout-0", 10);
  for (int i = 0; i < 4; ++i) Score(leases[static_cast<size_t>(i)].group, "reward-0", "h");
  Say(Role::kRollout, GroupFailed{leases[5].group, "rollout-0", "broken", true});
  Say(Role::kRollout, GroupFailed{leases[6].group, "rollout-0", "again", false});
  std::map<GroupPhase, uint64_t> scan;
  for (const auto& [id, group] : state.groups()) ++scan[group.phase];
  for (GroupPhase phase : {GroupPhase::kOpen, GroupPhase::kLeased, GroupPhase::kScored, GroupPhase::kDropped, GroupPhase::kTrained})
    EXPECT_EQ(state.CountOf(phase), scan[phase]) << Name(phase);
  EXPECT_EQ(state.dropped().at(DropReason::kFailed), 1u);
}

}  // namespace
}  // namespace candor
