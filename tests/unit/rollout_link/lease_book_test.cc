// The lease book's rules: which version writes which group, when weights are swapped, and that no result is forgotten.
#include "rollout/link/lease_book.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

using Kind = EngineMove::Kind;

Lease MakeLease(uint64_t wave, uint32_t position, uint64_t min, uint64_t max) {
  return {MakeGroupId(wave, position), {"train", position}, StepId{wave}, 8, 1, PolicyVersion{min}, PolicyVersion{max}, "reward-a"};
}
VersionInfo Newest(uint64_t version) {
  return {PolicyVersion{version}, "/run/weights/v" + std::to_string(version) + "/manifest.json", "h"};
}
TraceGroup Result(GroupId id) {
  TraceGroup group;
  group.id = id;
  group.traces_G.resize(1);
  group.traces_G[0].tokens_T = {1, 2, 3};
  return group;
}

TEST(LeaseBook, LoadsBeforeTheFirstGroupAndOnlyWhatTheLeaseAllows) {
  LeaseBook book({});
  EXPECT_EQ(book.Next(std::nullopt, true).kind, Kind::kWait);
  book.Add({MakeLease(1, 0, 0, 0)});
  EXPECT_EQ(book.Next(std::nullopt, true).kind, Kind::kWait) << "no version is known yet";
  book.SetNewest(Newest(0));
  EngineMove move = book.Next(std::nullopt, true);
  EXPECT_EQ(move.kind, Kind::kLoad);
  EXPECT_EQ(move.version, PolicyVersion{0});
  move = book.Next(PolicyVersion{0}, true);
  EXPECT_EQ(move.kind, Kind::kSubmit);
  EXPECT_EQ(move.lease.group, MakeGroupId(1, 0));
  // Deterministic mode: newer weights are there, but the wave belongs to an older version.
  LeaseBook exact({});
  exact.SetNewest(Newest(5));
  exact.Add({MakeLease(5, 0, 3, 3)});
  move = exact.Next(PolicyVersion{5}, true);
  EXPECT_EQ(move.kind, Kind::kLoad);
  EXPECT_EQ(move.version, PolicyVersion{3});
}

TEST(LeaseBook, SwapsBetweenGroupsAndAtAWaveForFresherWeights) {
  LeaseBook book({});
  book.SetNewest(Newest(1));
  book.Add({MakeLease(2, 0, 0, 1), MakeLease(2, 1, 0, 1)});
  EXPECT_EQ(book.Next(PolicyVersion{1}, true).kind, Kind::kSubmit);
  book.Started(MakeGroupId(2, 0));
  book.SetNewest(Newest(2));
  book.Add({MakeLease(3, 0, 1, 2)});
  EXPECT_EQ(book.Next(PolicyVersion{1}, false).kind, Kind::kSubmit) << "the wave that was begun goes on";
  book.Started(MakeGroupId(2, 1));
  EXPECT_EQ(book.Next(PolicyVersion{1}, false).kind, Kind::kWait) << "a new wave waits until the running traces are done";
  const EngineMove move = book.Next(PolicyVersion{1}, true);
  EXPECT_EQ(move.kind, Kind::kLoad);
  EXPECT_EQ(move.version, PolicyVersion{2});
  EXPECT_EQ(book.Next(PolicyVersion{2}, true).kind, Kind::kSubmit);
}

TEST(LeaseBook, InFlightSwapStopsAtTheRunningLeases) {
  for (const uint64_t running_max : {1, 2}) {
    LeaseBook book({.swap_in_flight = true});
    book.SetNewest(Newest(1));
    book.Add({MakeLease(2, 0, 0, running_max)});
    book.Started(MakeGroupId(2, 0));
    book.SetNewest(Newest(2));
    book.Add({MakeLease(3, 0, 2, 2)});
    EXPECT_EQ(book.Next(PolicyVersion{1}, false).kind, running_max >= 2 ? Kind::kLoad : Kind::kWait);
  }
}

TEST(LeaseBook, EvaluationsOfTheLoadedVersionGoFirst) {
  LeaseBook book({});
  book.SetNewest(Newest(4));
  book.Add({MakeLease(3, 0, 1, 2), MakeLease(5, 0, 4, 4)});
  const EngineMove move = book.Next(PolicyVersion{4}, true);
  EXPECT_EQ(move.kind, Kind::kSubmit);
  EXPECT_EQ(move.lease.group, MakeGroupId(5, 0));
}

TEST(LeaseBook, ResultsAreSentAgainUntilTheyAreSpooled) {
  LeaseBook book({.resend_first_ms = 100, .resend_last_ms = 300});
  const GroupId id = MakeGroupId(1, 0);
  book.Add({MakeLease(1, 0, 0, 0)});
  book.Started(id);
  EXPECT_TRUE(book.TakeDue(0).empty());
  book.Finished(Result(id));
  std::vector<int64_t> sent;
  for (int64_t now = 0; now <= 1000; now += 10)
    if (!book.TakeDue(now).empty()) sent.push_back(now);
  EXPECT_EQ(sent, (std::vector<int64_t>{0, 100, 300, 600, 900}));
  EXPECT_EQ(book.Open().size(), 1u);
  EXPECT_EQ(book.Open()[0].tokens_done, 3u);
  book.Spooled(id);
  EXPECT_TRUE(book.TakeDue(100000).empty());
  EXPECT_TRUE(book.Open().empty());
}

TEST(LeaseBook, AResultFollowsItsRewardWorker) {
  LeaseBook book({});
  const GroupId id = MakeGroupId(1, 0);
  book.Add({MakeLease(1, 0, 0, 0)});
  book.Started(id);
  book.Finished(Result(id));
  book.SetRewardEndpoints({"reward-b"});
  EXPECT_EQ(book.TakeDue(0).at(0).endpoint, "reward-b") << "its own is gone";
  Lease again = MakeLease(1, 0, 0, 0);
  again.reward_endpoint = "reward-c";
  book.SetRewardEndpoints({"reward-b", "reward-c"});
  book.Add({again});
  const auto due = book.TakeDue(1);
  ASSERT_EQ(due.size(), 1u) << "a new grant sends at once and generates nothing again";
  EXPECT_EQ(due[0].endpoint, "reward-c");
  EXPECT_EQ(book.Next(PolicyVersion{0}, true).kind, Kind::kWait);
}

TEST(LeaseBook, CancelledGroupsAreForgottenEverywhere) {
  LeaseBook book({});
  book.SetNewest(Newest(0));
  book.Add({MakeLease(1, 0, 0, 0), MakeLease(1, 1, 0, 0), MakeLease(1, 2, 0, 0)});
  book.Started(MakeGroupId(1, 0));
  book.Started(MakeGroupId(1, 1));
  book.Finished(Result(MakeGroupId(1, 1)));
  book.Cancel({MakeGroupId(1, 0), MakeGroupId(1, 1), MakeGroupId(1, 2), MakeGroupId(9, 9)});
  EXPECT_EQ(book.TakeCancelled(), std::vector<GroupId>{MakeGroupId(1, 0)}) << "only the engine's own must be taken out of it";
  book.Finished(Result(MakeGroupId(1, 0)));
  EXPECT_TRUE(book.TakeDue(0).empty());
  EXPECT_EQ(book.Next(PolicyVersion{0}, true).kind, Kind::kWait);
}

TEST(LeaseBook, AGroupGrantedAgainWaitsUntilTheEngineLetItGo) {
  LeaseBook book({});
  book.SetNewest(Newest(0));
  const GroupId id = MakeGroupId(1, 0);
  book.Add({MakeLease(1, 0, 0, 0)});
  book.Started(id);
  book.Cancel({id});
  book.Add({MakeLease(1, 0, 0, 0)});
  EXPECT_EQ(book.Next(PolicyVersion{0}, false).kind, Kind::kWait) << "the engine would refuse it as one it has, and it would be given up";
  book.Finished(Result(id));  // of the old lease, in the same moment
  EXPECT_TRUE(book.TakeDue(0).empty());
  EXPECT_EQ(book.TakeCancelled(), std::vector<GroupId>{id});
  EXPECT_EQ(book.Next(PolicyVersion{0}, true).kind, Kind::kSubmit);
}

TEST(LeaseBook, AsksForABatchAndStopsWhenResultsPileUp) {
  LeaseBook book({.max_batch = 64, .unspooled_max = 2});
  EXPECT_EQ(book.FreeGroups(), 1u) << "the first lease tells how large groups are";
  book.Add({MakeLease(1, 0, 0, 0)});
  EXPECT_EQ(book.FreeGroups(), 9u);  // ceil(80 / 9) + 1 - 1
  book.Started(MakeGroupId(1, 0));
  book.Finished(Result(MakeGroupId(1, 0)));
  EXPECT_EQ(book.FreeGroups(), 10u);
  book.Add({MakeLease(1, 1, 0, 0)});
  book.Started(MakeGroupId(1, 1));
  book.Finished(Result(MakeGroupId(1, 1)));
  EXPECT_EQ(book.FreeGroups(), 0u);
}

TEST(LeaseBook, FailuresAreToldOnce) {
  LeaseBook book({});
  book.Add({MakeLease(1, 0, 0, 0)});
  book.Failed(MakeGroupId(1, 0), "no such row", true);
  book.Failed(MakeGroupId(1, 0), "again", true);
  const auto failures = book.TakeFailures();
  ASSERT_EQ(failures.size(), 1u);
  EXPECT_EQ(failures[0].reason, "no such row");
  EXPECT_TRUE(book.TakeFailures().empty());
}

}  // namespace
}  // namespace candor
