// The whole control plane in one thread from one seed: the real state machine and ledger codec, and small actors for rollout, reward and
// trainer behind a network that drops, doubles and delays every message. Workers die, reward workers lose their disks, the learner goes
// back to its checkpoint, the coordinator restarts from its ledger. After every commit the auditor, which reads records only, must have no
// complaint; at the end every group must have ended. A failing seed is the bug report: run one with CANDOR_SIM_SEED.
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/unit/coordinator/simulated_world.h"

namespace candor {
namespace {

using sim::Sabotage;
using sim::World;

TEST(CoordinatorSimulation, EveryGroupEndsOnceUnderFaults) {
  uint64_t deaths = 0, restarts = 0, rollbacks = 0, reopened = 0, voided = 0;
  const char* one = std::getenv("CANDOR_SIM_SEED");
  const uint64_t first = one ? std::strtoull(one, nullptr, 10) : 1, last = one ? first : 300;
  for (uint64_t seed = first; seed <= last; ++seed) {
    World world(seed, Sabotage::kNone);
    ASSERT_EQ(world.Run(), "") << "CANDOR_SIM_SEED=" << seed;
    const Balance balance = world.auditor->Result();
    deaths += world.deaths, restarts += world.restarts, rollbacks += balance.segments - 1, reopened += balance.reopened,
        voided += balance.voided_plans;
  }
  if (one) return;
  // The faults must really have happened.
  EXPECT_GT(deaths, 300u);
  EXPECT_GT(restarts, 100u);
  EXPECT_GT(rollbacks, 20u);
  EXPECT_GT(reopened, 20u);
  EXPECT_GT(voided, 10u);
}

TEST(CoordinatorSimulation, SameSeedSameLedger) {
  World a(11, Sabotage::kNone), b(11, Sabotage::kNone);
  EXPECT_EQ(a.Run(), "");
  EXPECT_EQ(b.Run(), "");
  EXPECT_EQ(a.ledger, b.ledger);
  EXPECT_FALSE(a.ledger.empty());
}

TEST(CoordinatorSimulation, BrokenRulesAreNoticed) {
  for (Sabotage sabotage : {Sabotage::kForgetReissuedIds, Sabotage::kPlanTwice, Sabotage::kLoseRecords, Sabotage::kAckBeforeVersion}) {
    int noticed = 0;
    for (uint64_t seed = 1; seed <= 6; ++seed) noticed += !World(seed, sabotage).Run().empty();
    EXPECT_GE(noticed, 4) << static_cast<int>(sabotage);
  }
}

}  // namespace
}  // namespace candor
