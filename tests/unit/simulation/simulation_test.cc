// The control plane under faults, from seeds: a hundred runs on every day, a thousand and the large ones under the label slow
// (tests/sim/CMakeLists.txt). A failing seed is the bug report; once its defect is fixed it goes into tests/sim/regression_seeds.txt.
#include <gtest/gtest.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <fstream>
#include <set>
#include <sstream>

#include "reward/spool.h"
#include "simulation/world.h"

namespace candor::sim {
namespace {

class Quiet : public ::testing::Environment {
 public:
  void SetUp() override { spdlog::set_level(spdlog::level::off); }
};
const auto* const kQuiet = ::testing::AddGlobalTestEnvironment(new Quiet);

std::string Again(const SimSettings& s) {
  return "candor simulate --seed " + std::to_string(s.seed) + " --workers " + std::to_string(s.workers) + " --steps " +
         std::to_string(s.steps) + " --story";
}

TEST(Simulation, NothingIsLostOrTrainedTwiceUnderFaults) {
  uint64_t deaths = 0, coordinators = 0, leases = 0;
  std::vector<uint64_t> issued(kLengthMax + 1), trained(kLengthMax + 1);
  for (uint64_t seed = 1; seed <= 30; ++seed) {
    SimSettings settings;
    settings.seed = seed, settings.workers = 2 + static_cast<uint32_t>(seed % 7), settings.steps = 20;
    const SimOutcome outcome = Simulate(settings);
    ASSERT_EQ(outcome.failure, "") << Again(settings);
    deaths += outcome.deaths, coordinators += outcome.coordinators, leases += outcome.leases;
    for (size_t i = 0; i <= kLengthMax; ++i) issued[i] += outcome.issued_by_length[i], trained[i] += outcome.trained_by_length[i];
  }
  EXPECT_GT(deaths, 30u) << "the faults must really happen";
  EXPECT_GT(coordinators, 40u);
  EXPECT_GT(LengthBiasP(issued, trained), 0.01);
  std::printf("candor-figure R2 simulated_leases=%llu leases\n", static_cast<unsigned long long>(leases));
}

TEST(Simulation, CurriculaHoldUnderFaults) {
  uint64_t skips = 0, retires = 0, fills = 0, leases = 0, plain_leases = 0;
  for (uint64_t seed = 1; seed <= 20; ++seed) {
    SimSettings settings;
    settings.seed = seed, settings.workers = 2 + static_cast<uint32_t>(seed % 7), settings.steps = 20, settings.curriculum = true;
    const CurriculumPlan plan = MakeSwarm(settings).plan.curriculum;
    skips += plan.skip, retires += plan.retire_at > 0, fills += plan.fill_batches > 1;
    const SimOutcome outcome = Simulate(settings);
    ASSERT_EQ(outcome.failure, "") << Again(settings) << " --curriculum";
    if (plan.fill_batches == 1) continue;
    leases += outcome.leases;
    settings.curriculum = false;
    plain_leases += Simulate(settings).leases;
  }
  EXPECT_GT(std::min({skips, retires, fills}), 5u) << "each of them must really be there";
  EXPECT_GT(leases, plain_leases * 5 / 4) << "a step that is filled up takes more groups";
}

TEST(Simulation, SameSeedSameTrace) {
  SimSettings settings;
  settings.seed = 5, settings.steps = 10;
  const SimOutcome a = Simulate(settings), b = Simulate(settings);
  EXPECT_EQ(a.trace_hash, b.trace_hash);
  EXPECT_EQ(a.events, b.events);
  settings.seed = 6;
  EXPECT_NE(Simulate(settings).trace_hash, a.trace_hash);
}

TEST(Simulation, ARunWithoutFaultsHasNoDeaths) {
  SimSettings settings;
  settings.faults = false, settings.steps = 10;
  const SimOutcome outcome = Simulate(settings);
  EXPECT_EQ(outcome.failure, "");
  EXPECT_EQ(outcome.deaths, 0u);
  EXPECT_EQ(outcome.coordinators, 1u);
}

// Each rule that is broken on purpose must be caught by some seed.
class BrokenRule : public ::testing::TestWithParam<int> {};
TEST_P(BrokenRule, IsCaught) {
  for (uint64_t seed = 1; seed <= 40; ++seed) {
    SimSettings settings;
    settings.seed = seed, settings.workers = 5, settings.steps = 12;
    settings.sabotage = static_cast<Sabotage>(GetParam());
    if (const SimOutcome outcome = Simulate(settings); !outcome.failure.empty()) {
      std::printf("%s: seed %llu: %s\n", Name(settings.sabotage), static_cast<unsigned long long>(seed), outcome.failure.c_str());
      return;
    }
  }
  FAIL() << "no seed notices " << Name(static_cast<Sabotage>(GetParam()));
}
INSTANTIATE_TEST_SUITE_P(All, BrokenRule, ::testing::Range(1, kSabotages));

TEST(Simulation, FailingSeedsOfThePastHold) {
  std::ifstream file(CANDOR_SOURCE_DIR "/tests/sim/regression_seeds.txt");
  ASSERT_TRUE(file.good());
  int seen = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    SimSettings settings;
    std::istringstream words(line);
    ASSERT_TRUE(words >> settings.seed >> settings.workers >> settings.steps) << line;
    EXPECT_EQ(Simulate(settings).failure, "") << Again(settings);
    ++seen;
  }
  EXPECT_GT(seen, 0);
}

TEST(Simulation, ASpooledGroupThatIsFoundAgainIsOnTheMedium) {
  SimDisk disk(1);
  const GroupId group = MakeGroupId(1, 0);
  {
    auto spool = *Spool::Open("spool", 1 << 20, disk);
    disk.before = [](const char* operation, const std::string&) -> Status {
      if (std::string(operation) == "sync folder") return Fail(ErrorCode::kIo, "input/output error");
      return {};
    };
    ASSERT_FALSE(spool->Put(group, {1}, "payload").has_value());
  }
  disk.before = nullptr;
  auto again = *Spool::Open("spool", 1 << 20, disk);
  ASSERT_TRUE(again->Find(group).has_value()) << "it would be acknowledged";
  EXPECT_TRUE(disk.IsDurable("spool/0000000000100000.group"));
}

TEST(Simulation, ShrinkingKeepsTheFailureWithFewerFaults) {
  SimSettings settings;
  settings.sabotage = Sabotage::kCountTwice;
  settings.steps = 6;
  ASSERT_NE(Simulate(settings).failure, "");
  const SimSettings fewer = Shrink(settings, 20);
  EXPECT_NE(Simulate(fewer).failure, "");
  EXPECT_LT(Simulate(fewer).faults, std::max<uint64_t>(1, Simulate(settings).faults));
}

TEST(LengthBias, IsSeenWhereItIs) {
  std::vector<uint64_t> issued(49, 1000), same(49, 900), biased(49, 1000);
  for (size_t i = 30; i < 49; ++i) biased[i] = 700;
  EXPECT_GT(LengthBiasP(issued, same), 0.9);
  EXPECT_LT(LengthBiasP(issued, biased), 0.001);
}

}  // namespace
}  // namespace candor::sim
