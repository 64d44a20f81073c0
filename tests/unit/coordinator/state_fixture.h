// A coordinator state with clients as plain calls: what the tests of its rules share.
#pragma once
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "coordinator/state.h"

namespace candor::state_fixture {

inline RunPlan Plan(uint64_t staleness = 1) {
  RunPlan plan;
  plan.run_id = "r";
  plan.steps = 5, plan.prompts_per_step = 2, plan.group_size = 4, plan.greedy_traces = 1, plan.staleness = staleness;
  plan.datasets = {{"train", 10, 1.0}};
  return plan;
}

// A coordinator with one reward worker, and clients as plain calls.
struct Fixture {
  CoordinatorState state;
  int64_t now = 1000;
  uint64_t request = 0;
  std::vector<LedgerRecord> ledger;
  explicit Fixture(RunPlan plan = Plan(), bool ready = true) : state(std::move(plan), {1000, 5000, 3, 100}, 1) {
    if (!ready) return;
    Say<Welcome>(Role::kReward, Hello{"reward", "reward-0", {7}, "tcp://reward:1", {}, {}});
    Say<Ack>(Role::kTrainer, VersionAnnounce{{{0}, "m", "h0"}, {0}});
  }
  MessageBody Send(Role role, const MessageBody& body) {
    Actions actions = state.Receive(role, ++request, body, now);
    ledger.insert(ledger.end(), actions.records.begin(), actions.records.end());
    return *actions.reply;
  }
  template <typename Reply>
  Reply Say(Role role, const MessageBody& body) {
    MessageBody reply = Send(role, body);
    if (auto* error = std::get_if<Error>(&reply)) ADD_FAILURE() << error->Message();
    return std::get<Reply>(reply);
  }
  LeaseGrant Lease(const std::string& worker = "rollout-0", uint32_t want = 100) {
    return Say<LeaseGrant>(Role::kRollout, LeaseRequest{worker, {1}, {0}, want});
  }
  GroupScored Header(GroupId id, DropReason drop = DropReason::kNone) {
    GroupScored h;
    const GroupState& group = state.groups().at(id);
    h.group = id, h.prompt = group.prompt, h.wave = group.wave, h.reward_worker = "reward-0", h.reward_endpoint = "tcp://reward:1",
    h.hash = "x" + ToString(id);
    h.oldest_version = h.newest_version = state.OldestVersionFor(group, id);
    h.traces = 5, h.completion_tokens = 100, h.drop = drop;
    return h;
  }
  Ack Score(GroupId id, DropReason drop = DropReason::kNone) { return Say<Ack>(Role::kReward, Header(id, drop)); }
  StepPlan PlanOf(uint64_t step, uint64_t incarnation = 1) { return Say<StepPlan>(Role::kTrainer, PlanRequest{{step}, {incarnation}, 2}); }
  void Done(uint64_t step, PlanId plan) {
    EXPECT_TRUE(Say<Ack>(Role::kTrainer, StepDone{{{step}, plan, {step}, {}}, {{step}, "m", "h" + std::to_string(step)}}).accepted);
  }
  void Learn(uint64_t step) {
    for (uint32_t p = 0; p < 2; ++p)
      if (auto phase = state.groups().at(MakeGroupId(step, p)).phase; phase == GroupPhase::kOpen || phase == GroupPhase::kLeased)
        Score(MakeGroupId(step, p));
    Done(step, PlanOf(step).plan);
  }
};

}  // namespace candor::state_fixture
