// Checkpoints that are written beside the training: the snapshot is of one moment, all ranks hear the same outcome, what is best and newest
// stays, and no damage goes unnoticed.
#include "trainer/checkpoint_writer.h"

#include <filesystem>
#include <fstream>

#include "core/fs.h"
#include "filled_policy.h"

namespace candor {
namespace {

using filled::Fill;
using filled::Holds;
using tiny::OnRanks;

CheckpointOptions Keep(int64_t last, const std::string& best = "none", int64_t n = 1) {
  CheckpointOptions keep;
  keep.keep_last = last, keep.keep_best = best, keep.keep_best_n = n;
  return keep;
}

void WriteSteps(const std::string& folder, int ranks, const std::vector<int64_t>& steps, const CheckpointOptions& keep,
                const std::string& run_dir = "") {
  OnRanks<int>(ranks, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {Sharding::kZero3, DType::kFp32, true}, collective);
    CheckpointWriter writer(policy, folder, keep, run_dir);
    for (int64_t step : steps) {
      Fill(policy, static_cast<float>(step));
      EXPECT_TRUE(writer.Start(step, R"({"ledger_sequence": 5})"));
      Fill(policy, 12345.0f);  // the optimizer steps on while the shard is being written
      auto outcome = writer.Finish(10000);
      EXPECT_TRUE(outcome && outcome->written) << (outcome ? outcome->written.error().Message() : outcome.error().Message());
    }
    return 0;
  });
}

// The step that was loaded whole; -1 none.
int64_t LoadedStep(const std::string& folder, int ranks = 2) {
  return OnRanks<int64_t>(ranks, [&](Collective& collective) -> int64_t {
    ShardedPolicy policy(tiny::Config(), {Sharding::kZero3, DType::kFp32, true}, collective);
    auto loaded = LoadNewestCheckpoint(policy, folder);
    if (!loaded || !*loaded) return -1;
    return Holds(policy, static_cast<float>((*loaded)->step)) ? (*loaded)->step : -2;
  })[0];
}

TEST(CheckpointWriter, TheSnapshotIsOfOneMoment) {
  tiny::Folder folder;
  WriteSteps(folder.path(), 3, {4}, Keep(2));
  EXPECT_EQ(LoadedStep(folder.path()), 4);
  const auto manifest = ReadCheckpointManifest(folder.path() + "/step_00000004");
  ASSERT_TRUE(manifest) << manifest.error().Message();
  EXPECT_EQ(manifest->LedgerSequence(), 5u);
  EXPECT_EQ(manifest->ranks, 3);
  EXPECT_TRUE(VerifyCheckpoint(folder.path() + "/step_00000004").empty());
}

// Poll between steps never waits, and an outcome comes on every rank in the same round.
TEST(CheckpointWriter, RanksHearTheOutcomeInTheSameRound) {
  tiny::Folder folder;
  const std::vector<int> rounds = OnRanks<int>(4, [&](Collective& collective) {
    ShardedPolicy policy(tiny::Config(), {Sharding::kZero2, DType::kFp32, true}, collective);
    CheckpointWriter writer(policy, folder.path(), Keep(1));
    EXPECT_TRUE(writer.Start(1, ""));
    for (int round = 1;; ++round) {
      auto outcome = writer.Poll();
      EXPECT_TRUE(outcome);
      if (!outcome || *outcome) return outcome && (*outcome)->written ? round : -1;
    }
  });
  for (int round : rounds) EXPECT_EQ(round, rounds[0]);
  EXPECT_GT(rounds[0], 0);
}

// Rank 1 sees the folder through a link that leads nowhere at first: its disk is not there.
TEST(CheckpointWriter, OneFailingShardIsOneVerdictAndTheNextCheckpointWorks) {
  tiny::Folder folder, links;
  const std::string link = links.path() + "/link";
  std::filesystem::create_symlink("/proc/nowhere", link);
  const auto verdicts = OnRanks<std::string>(3, [&](Collective& collective) -> std::string {
    ShardedPolicy policy(tiny::Config(), {Sharding::kZero3, DType::kFp32, true}, collective);
    CheckpointWriter writer(policy, collective.rank() == 1 ? link : folder.path(), Keep(2));
    Fill(policy, 1.0f);
    EXPECT_TRUE(writer.Start(1, ""));
    auto outcome = writer.Finish(10000);
    EXPECT_TRUE(outcome);
    const std::string said = outcome && !outcome->written ? outcome->written.error().Message() : "it was written";
    if (collective.rank() == 1) std::filesystem::remove(link), std::filesystem::create_symlink(folder.path(), link);
    Fill(policy, 2.0f);
    EXPECT_TRUE(writer.Start(2, ""));
    outcome = writer.Finish(10000);
    EXPECT_TRUE(outcome && outcome->written);
    return said;
  });
  for (const std::string& verdict : verdicts) EXPECT_EQ(verdict, verdicts[0]);
  EXPECT_NE(verdicts[0].find("the checkpoint of step 1 was not written"), std::string::npos) << verdicts[0];
  EXPECT_NE(verdicts[0].find("rank 1"), std::string::npos) << verdicts[0];
  EXPECT_EQ(LoadedStep(folder.path()), 2);
}

// L9: replicated state of which one rank's memory flipped a bit.
TEST(CheckpointWriter, ACopyThatDiffersOnOneRankIsNoticed) {
  tiny::Folder folder;
  for (bool flipped : {true, false}) {
    const auto errors = OnRanks<std::string>(2, [&](Collective& collective) -> std::string {
      ShardedPolicy policy(tiny::Config(), {Sharding::kNone, DType::kFp32, true}, collective);
      CheckpointWriter writer(policy, folder.path(), Keep(2));
      Fill(policy, 3.0f);
      if (flipped && collective.rank() == 1) {
        uint32_t* bits = reinterpret_cast<uint32_t*>(policy.state(1).square.data_ptr<float>() + 17);
        *bits ^= 1u;
      }
      EXPECT_TRUE(writer.Start(3, ""));
      auto outcome = writer.Finish(10000);
      return outcome ? "" : outcome.error().Message();
    });
    EXPECT_EQ(errors[0], errors[1]);
    if (flipped)
      EXPECT_NE(errors[0].find("rank 1 and rank 0 hold different values of"), std::string::npos) << errors[0];
    else
      EXPECT_EQ(errors[0], "");
    EXPECT_EQ(FileExists(folder.path() + "/step_00000003"), !flipped);
  }
}

TEST(Retention, KeepsTheNewestAndTheBest) {
  const std::map<int64_t, double> brier{{10, 0.3}, {20, 0.1}, {30, 0.2}, {40, 0.4}};
  EXPECT_EQ(PlanRetention({10, 20, 30, 40, 50}, brier, Keep(2)), (std::vector<int64_t>{30, 20, 10}));
  EXPECT_EQ(PlanRetention({10, 20, 30, 40, 50}, brier, Keep(2, "brier", 1)), (std::vector<int64_t>{30, 10}));
  EXPECT_EQ(PlanRetention({10, 20, 30, 40, 50}, brier, Keep(1, "auroc", 2)), (std::vector<int64_t>{30, 20}));
  EXPECT_EQ(PlanRetention({10}, brier, Keep(1, "brier")), std::vector<int64_t>{});
  EXPECT_EQ(PlanRetention({10, 20}, {}, Keep(1, "brier")), std::vector<int64_t>{10});  // nothing is known of them
}

TEST(Retention, ReadsFiguresAndNeverRemovesTheNewestOrTheBest) {
  tiny::Folder run;
  std::ofstream evals(run.path() + "/evals.jsonl");
  evals << R"({"step": 1, "calibration/dev/brier": 0.30, "calibration/dev/slot/brier": 9})"
        << "\n"
        << R"({"step": 2, "calibration/dev/brier": 0.10, "calibration/ood/brier": 0.20})"
        << "\n"
        << R"({"step": 3, "calibration/dev/brier": 0.25})"
        << "\nnonsense\n";
  evals.close();
  const std::map<int64_t, double> want{{1, 0.30}, {2, (0.10 + 0.20) / 2}, {3, 0.25}};
  EXPECT_EQ(ReadFigures(run.path(), "brier"), want);
  const std::string folder = run.path() + "/checkpoints";
  WriteSteps(folder, 2, {1, 2, 3, 4, 5}, Keep(1, "brier", 1), run.path());
  std::vector<int64_t> left;
  for (const CheckpointFolder& one : FindCheckpoints(folder)) left.push_back(one.step);
  EXPECT_EQ(left, (std::vector<int64_t>{5, 2}));
}

// A damaged newer one of an abandoned lineage must not push the only good one out.
TEST(Retention, ADamagedNewerOneIsNoReasonToRemoveTheGoodOne) {
  tiny::Folder folder;
  WriteSteps(folder.path(), 2, {10, 30}, Keep(2));
  std::filesystem::resize_file(folder.path() + "/step_00000030/rank_0.safetensors", 9);
  EXPECT_EQ(LoadedStep(folder.path()), 10);
  EXPECT_TRUE(FileExists(folder.path() + "/damaged_step_00000030"));
  WriteSteps(folder.path(), 2, {20}, Keep(1));
  EXPECT_EQ(LoadedStep(folder.path()), 20);
}

TEST(Retention, TheReplacedOneCountsUntilItsSuccessorHasTheName) {
  tiny::Folder folder;
  WriteSteps(folder.path(), 2, {10}, Keep(2));
  std::filesystem::rename(folder.path() + "/step_00000010", folder.path() + "/replaced_step_00000010");  // and then the process died
  EXPECT_EQ(LoadedStep(folder.path()), 10);
  WriteSteps(folder.path(), 2, {10}, Keep(2));
  WriteSteps(folder.path(), 2, {10}, Keep(2));
  EXPECT_EQ(FindCheckpoints(folder.path()).size(), 1u);
  EXPECT_EQ(LoadedStep(folder.path()), 10);
}

std::string Bytes(const std::string& path) { return ReadFile(path).value(); }
void Overwrite(const std::string& path, const std::string& bytes) { std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes; }

TEST(Damage, EveryByteOfTheManifestCounts) {
  tiny::Folder folder;
  WriteSteps(folder.path(), 2, {20}, Keep(9));
  const std::string text = Bytes(folder.path() + "/step_00000020/manifest.json");
  ASSERT_TRUE(ParseCheckpointManifest(text, "m"));
  for (size_t i = 0; i < text.size(); ++i)
    for (int bit : {0, 5}) {
      std::string damaged = text;
      damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
      EXPECT_FALSE(ParseCheckpointManifest(damaged, "m")) << i;
    }
  for (size_t size = 0; size < text.size(); size += 7) EXPECT_FALSE(ParseCheckpointManifest(text.substr(0, size), "m"));
  std::printf("candor-figure S4 manifest_bytes_flipped=%zu bytes unnoticed=0\n", text.size());
}

TEST(Damage, OneByteIn4096OfEveryShardCounts) {
  tiny::Folder folder;
  WriteSteps(folder.path(), 2, {20}, Keep(9));
  const std::string newest = folder.path() + "/step_00000020";
  size_t flips = 0;
  for (const char* name : {"/rank_0.safetensors", "/rank_1.safetensors"}) {
    const std::string whole = Bytes(newest + name);
    for (size_t i = 17; i < whole.size(); i += 4096, ++flips) {
      std::string damaged = whole;
      damaged[i] = static_cast<char>(damaged[i] ^ 4);
      Overwrite(newest + name, damaged);
      const std::vector<Error> problems = VerifyCheckpoint(newest);
      ASSERT_EQ(problems.size(), 1u);
      EXPECT_NE(problems[0].Message().find(name), std::string::npos);
      EXPECT_NE(problems[0].Message().find("is damaged between bytes"), std::string::npos);
    }
    Overwrite(newest + name, whole);
  }
  EXPECT_TRUE(VerifyCheckpoint(newest).empty());
  std::printf("candor-figure S4 shard_bytes_flipped=%zu bytes unnoticed=0\n", flips);
}

TEST(Damage, MixedUpShardsAreNamedAndTheOneBeforeIsUsed) {
  for (const char* how : {"truncate", "swap", "other step", "missing", "longer", "empty manifest", "other manifest", "link"}) {
    tiny::Folder folder;
    WriteSteps(folder.path(), 2, {10, 20}, Keep(9));
    const std::string newest = folder.path() + "/step_00000020", older = folder.path() + "/step_00000010";
    const std::string first = newest + "/rank_0.safetensors", second = newest + "/rank_1.safetensors";
    const std::string_view kind = how;
    if (kind == "truncate") std::filesystem::resize_file(second, std::filesystem::file_size(second) - 1);
    if (kind == "swap") {
      const std::string bytes = Bytes(first);
      Overwrite(first, Bytes(second));
      Overwrite(second, bytes);
    }
    if (kind == "other step") Overwrite(second, Bytes(older + "/rank_1.safetensors"));
    if (kind == "missing") std::filesystem::remove(first);
    if (kind == "longer") Overwrite(first, Bytes(first) + "x");
    if (kind == "link") {  // the right bytes, but outside the folder
      std::filesystem::rename(first, folder.path() + "/outside");
      std::filesystem::create_symlink(folder.path() + "/outside", first);
    }
    if (kind == "empty manifest") Overwrite(newest + "/manifest.json", "");
    if (kind == "other manifest") Overwrite(newest + "/manifest.json", Bytes(older + "/manifest.json"));
    EXPECT_FALSE(VerifyCheckpoint(newest).empty()) << how;
    EXPECT_EQ(LoadedStep(folder.path()), 10) << how;
  }
}

TEST(Damage, AnExtraRanksFileIsNamedAndChangesNothing) {
  tiny::Folder folder;
  WriteSteps(folder.path(), 2, {20}, Keep(9));
  const std::string newest = folder.path() + "/step_00000020";
  Overwrite(newest + "/rank_2.safetensors", Bytes(newest + "/rank_1.safetensors"));
  const std::vector<Error> problems = VerifyCheckpoint(newest);
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_NE(problems[0].Message().find("rank_2.safetensors"), std::string::npos);
  EXPECT_EQ(LoadedStep(folder.path()), 20);
}

}  // namespace
}  // namespace candor
