// The calibration record: windows, slices and segments sum exactly; the same group twice counts once; broken sketches are left out with a
// word. The store under it: batches, clones, fences.
#include "coordinator/record.h"

#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <set>

#include "coordinator/ledger.h"
#include "coordinator/metrics.h"
#include "core/epoch.h"
#include "core/fs.h"

namespace candor {
namespace {

using calibration::CalSketch;

class Folder {
 public:
  Folder() {
    std::string name = (std::filesystem::temp_directory_path() / "candor-record-XXXXXX").string();
    path_ = mkdtemp(name.data());
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

RunPlan RecordPlan() {
  RunPlan plan;
  plan.run_id = "r", plan.steps = 9, plan.prompts_per_step = 2, plan.group_size = 2;
  plan.datasets = {{"train", 4, 1.0}};
  plan.evals = {{"dev", 4, 0}};
  return plan;
}

GroupScored Header(GroupId id, uint64_t step, double confidence, double label, std::vector<std::string> slices = {}) {
  GroupScored header;
  header.group = id, header.wave = {step}, header.traces = 1, header.slices = std::move(slices);
  CalSketch sketch;
  sketch.Add(*Confidence::From(confidence), label);
  header.sketches["slot"] = sketch.Encode();
  return header;
}

void Put(Store& store, const GroupScored& header) {
  StoreBatch batch;
  std::vector<std::string> complaints;
  PutObservations(RecordPlan(), header, batch, complaints);
  EXPECT_TRUE(complaints.empty());
  ASSERT_TRUE(store.Write(batch));
}

TEST(CalibrationRecord, WindowsAndSlicesSumAndDoublesCountOnce) {
  Folder folder;
  auto store = *Store::OpenForWriting(folder.path());
  CalibrationRecord record(*store);
  for (uint64_t step = 1; step <= 3; ++step)
    for (uint32_t p = 0; p < 2; ++p)
      for (int twice = 0; twice < 2; ++twice)
        Put(*store, Header(MakeGroupId(step, p), step, 0.5, p, p == 0 ? std::vector<std::string>{"big"} : std::vector<std::string>{}));
  Put(*store, Header(MakeEvalGroupId(0, {2}, 1), 2, 0.9, 1));
  EXPECT_EQ(record.Query({"train", "slot", ""}, {1}, {3})->n(), 6);
  EXPECT_EQ(record.Query({"train", "slot", ""}, {2}, {2})->n(), 2);
  EXPECT_EQ(record.Query({"train", "slot", "big"}, {1}, {UINT64_MAX})->n(), 3);
  EXPECT_EQ(record.Query({"eval/dev", "slot", ""}, {0}, {9})->n(), 1);
  EXPECT_EQ(record.Query({"train", "verbal", ""}, {1}, {3})->n(), 0);
  EXPECT_EQ(record.List()->size(), 3u);
}

TEST(CalibrationRecord, MergedStepsOutliveTheirGroupsAndTheNewestSegmentWins) {
  Folder folder;
  auto store = *Store::OpenForWriting(folder.path());
  CalibrationRecord record(*store);
  Put(*store, Header(MakeGroupId(1, 0), 1, 0.25, 1));
  Put(*store, Header(MakeGroupId(1, 1), 1, 0.75, 0));
  Put(*store, Header(MakeGroupId(2, 0), 2, 0.75, 0));
  auto write_merged = [&](uint64_t segment) {
    StoreBatch batch;
    CalibrationRecord::PutMerged(*record.MergeStep("train", {1}), {1}, {segment}, batch);
    ASSERT_TRUE(store->Write(batch));
  };
  write_merged(1);
  EXPECT_EQ(record.Query({"train", "slot", ""}, {1}, {1})->n(), 2);  // not doubled by the groups' own keys
  Put(*store, Header(MakeGroupId(1, 1), 1, 0.1, 1));                 // scored again in a later segment
  write_merged(2);
  CalSketch sum = *record.Query({"train", "slot", ""}, {1}, {1});
  EXPECT_EQ(sum.n(), 2);
  EXPECT_NEAR(sum.Brier(), (0.75 * 0.75 + 0.9 * 0.9) / 2, 1e-8);
  StoreBatch drop;
  ASSERT_TRUE(record.DropCovered("train", {1}, drop));
  ASSERT_TRUE(store->Write(drop));
  EXPECT_EQ(record.Query({"train", "slot", ""}, {1}, {2})->n(), 3);
  EXPECT_TRUE(record.MergeStep("train", {1})->empty());
  EXPECT_FALSE(record.MergeStep("train", {2})->empty());
}

// Simulated seeds 76, 389, 459, 595, 668: all groups of a step were dropped when it was learnt again, and its first life was counted.
TEST(CalibrationRecord, ASeriesThatAStepHasNoMoreIsEmptyInItsNewSegment) {
  Folder folder;
  auto store = *Store::OpenForWriting(folder.path());
  CalibrationRecord record(*store);
  auto learn = [&](uint64_t segment) {
    StoreBatch batch;
    const auto merged = *record.MergeStep("train", {1});
    CalibrationRecord::PutMerged(merged, {1}, {segment}, batch);
    ASSERT_TRUE(record.PutEmptied("train", merged, {1}, {segment}, batch));
    ASSERT_TRUE(record.DropCovered("train", {1}, batch));
    ASSERT_TRUE(store->Write(batch));
  };
  Put(*store, Header(MakeGroupId(1, 0), 1, 0.5, 1, {"big"}));
  Put(*store, Header(MakeGroupId(2, 0), 2, 0.5, 1, {"big"}));
  learn(1);
  Put(*store, Header(MakeGroupId(1, 1), 1, 0.5, 1, {"small"}));
  learn(2);  // another group, of another slice
  EXPECT_EQ(record.Query({"train", "slot", ""}, {1}, {1})->n(), 1);
  EXPECT_EQ(record.Query({"train", "slot", "big"}, {1}, {1})->n(), 0);
  EXPECT_EQ(record.Query({"train", "slot", "small"}, {1}, {1})->n(), 1);
  learn(3);  // none at all
  for (const char* slice : {"", "big", "small"}) EXPECT_EQ(record.Query({"train", "slot", slice}, {1}, {1})->n(), 0) << slice;
  EXPECT_EQ(record.Query({"train", "slot", "big"}, {2}, {2})->n(), 1);
}

// Opened again, then dropped: it would still be counted.
TEST(CalibrationRecord, AGroupThatIsTakenBackIsNotObservedUnlessItIsScoredAgain) {
  Folder folder;
  auto store = *Store::OpenForWriting(folder.path());
  CalibrationRecord record(*store);
  for (uint32_t p = 0; p < 2; ++p) Put(*store, Header(MakeGroupId(1, p), 1, 0.5, 1, {"big"}));
  Put(*store, Header(MakeEvalGroupId(0, {1}, 1), 1, 0.9, 1));
  StoreBatch batch;
  std::vector<std::string> complaints;
  PutObservations(RecordPlan(), Header(MakeGroupId(2, 0), 2, 0.5, 1), batch, complaints);  // under way in the same batch
  PutObservations(RecordPlan(), Header(MakeGroupId(2, 1), 2, 0.5, 1), batch, complaints);
  ASSERT_TRUE(record.DropGroups("train", {{{1}, MakeGroupId(1, 1)}, {{2}, MakeGroupId(2, 0)}}, batch));
  ASSERT_TRUE(store->Write(batch));
  for (const char* slice : {"", "big"}) EXPECT_EQ(record.Query({"train", "slot", slice}, {1}, {1})->n(), 1) << slice;
  EXPECT_EQ(record.Query({"train", "slot", ""}, {2}, {2})->n(), 1);
  EXPECT_EQ(record.Query({"eval/dev", "slot", ""}, {0}, {9})->n(), 1);
  StoreBatch again;  // taken back and scored again under one write
  ASSERT_TRUE(record.DropGroups("train", {{{1}, MakeGroupId(1, 0)}}, again));
  PutObservations(RecordPlan(), Header(MakeGroupId(1, 0), 1, 0.25, 0), again, complaints);
  ASSERT_TRUE(store->Write(again));
  EXPECT_EQ(record.Query({"train", "slot", ""}, {1}, {1})->n(), 1);
}

TEST(CalibrationRecord, BrokenSketchesAreLeftOutWithAWord) {
  GroupScored header = Header(MakeGroupId(1, 0), 1, 0.5, 1);
  header.sketches["torn"] = header.sketches["slot"].substr(0, 3);
  header.sketches[std::string("nul\0name", 8)] = header.sketches["slot"];
  header.traces = 1;
  CalSketch two;
  two.Add(*Confidence::From(0.5), 1), two.Add(*Confidence::From(0.5), 1);
  header.sketches["too_many"] = two.Encode();
  StoreBatch batch;
  std::vector<std::string> complaints;
  PutObservations(RecordPlan(), header, batch, complaints);
  EXPECT_EQ(batch.puts.size(), 1u);
  EXPECT_EQ(complaints.size(), 3u);
}

TEST(Ledger, AClonedStoreHoldsEverythingAndTheOldOneIsFenced) {
  Folder folder;
  auto first = *Ledger::Open(folder.path(), RecordPlan(), "first");
  EXPECT_EQ(first->records(), 0u);
  ASSERT_TRUE(first->Commit({VersionAnnounce{{{0}, "m", "h"}, {0}}, TrainerStarted{{3}, {1}, {1}}}));
  // The first one is still alive and holds its store open.
  auto second = *Ledger::Open(folder.path(), RecordPlan(), "second");
  EXPECT_EQ(second->epoch(), first->epoch() + 1);
  EXPECT_EQ(second->records(), 2u);
  Status late = first->Commit({RunFinished{}});
  ASSERT_FALSE(late);
  EXPECT_EQ(late.error().code, ErrorCode::kUnavailable);
  ASSERT_TRUE(second->Commit({RunFinished{}}));
  auto reader = OpenNewestLedger(folder.path());  // beside the living writer
  ASSERT_TRUE(reader.has_value());
  size_t seen = 0;
  ASSERT_TRUE(reader->ForEach([&](const LedgerRecord&) -> Status {
    ++seen;
    return {};
  }));
  EXPECT_EQ(seen, 3u);
  EXPECT_EQ(reader->plan.run_id, "r");
}

TEST(Ledger, AnUnfinishedCloneIsPassedOver) {
  Folder folder;
  {
    auto first = *Ledger::Open(folder.path(), RecordPlan(), "first");
    ASSERT_TRUE(first->Commit({RunFinished{}}));
  }
  ASSERT_TRUE(CreateExclusive(folder.path() + "/epoch.2", "died in its clone"));
  { ASSERT_TRUE(Store::OpenForWriting(folder.path() + "/ledger/2").has_value()); }
  auto third = *Ledger::Open(folder.path(), RecordPlan(), "third");
  EXPECT_EQ(third->epoch(), 3u);
  EXPECT_EQ(third->records(), 1u);
}

TEST(Ledger, BrokenRecordsAreErrors) {
  EXPECT_FALSE(DecodeRecord("").has_value());
  EXPECT_FALSE(DecodeRecord("\x02short").has_value());
  EXPECT_FALSE(DecodeRecord("\x01garbage").has_value());
  auto newer = DecodeRecord("\x7f");
  ASSERT_FALSE(newer.has_value());
  EXPECT_EQ(newer.error().code, ErrorCode::kVersionSkew);
}

TEST(Metrics, LinesAreFiniteAndTheFileIsTheirProjection) {
  EXPECT_EQ(ToJsonLine({{"a", 0.5}, {"b", std::nan("")}, {"step", 3.0}}), R"({"a":0.5,"step":3})");
  Folder folder;
  auto store = *Store::OpenForWriting(folder.path() + "/store");
  const std::string path = folder.path() + "/metrics.jsonl";
  StoreBatch batch;
  PutLine("metrics.jsonl", 1, 10, "", "{\"step\":10}", batch);
  PutLine("metrics.jsonl", 1, 9, "", "{\"step\":9}", batch);
  PutLine("metrics.jsonl", 2, 9, "", "{\"step\":9,\"segment\":2}", batch);
  PutLine("metrics.jsonlx", 1, 1, "", "other", batch);
  ASSERT_TRUE(store->Write(batch));
  ASSERT_TRUE(WriteFileAtomic(path, "{\"step\":9}\n{\"st"));
  ASSERT_TRUE(ProjectLines(*store, "metrics.jsonl", path));
  EXPECT_EQ(*ReadFile(path), "{\"step\":9}\n{\"step\":10}\n{\"step\":9,\"segment\":2}\n");
  EXPECT_EQ(ReadLines(*store, "metrics.jsonl", 10)->size(), 1u);
  EXPECT_EQ(*ReadLines(*store, "metrics.jsonl", 9), *ReadLines(*store, "metrics.jsonl", 0));
  EXPECT_TRUE(ReadLines(*store, "metrics.json", 0)->empty());
  EXPECT_TRUE(HasLine(*store, "metrics.jsonl", 2, 9, "").value());
  EXPECT_FALSE(HasLine(*store, "metrics.jsonl", 2, 10, "").value());
}

// A reader that is killed leaves the folder of its log; days of them would fill the machine's temporary folder.
TEST(Store, WhatKilledReadersLeftIsRemovedByTheNextOne) {
  namespace fs = std::filesystem;
  Folder folder, temporary;
  const char* before = std::getenv("TMPDIR");
  const std::string keep = before ? before : "";
  ::setenv("TMPDIR", temporary.path().c_str(), 1);
  const auto age = [](const fs::path& path) { fs::last_write_time(path, fs::file_time_type::clock::now() - std::chrono::hours(1)); };
  const auto names = [&] {
    std::set<std::string> found;
    for (const auto& entry : fs::directory_iterator(temporary.path())) found.insert(entry.path().filename().string());
    return found;
  };
  { ASSERT_TRUE(Store::OpenForWriting(folder.path()).has_value()); }
  for (const char* name : {"candor-reader-killed", "candor-reader-young", "another"})
    fs::create_directory(fs::path(temporary.path()) / name);
  age(fs::path(temporary.path()) / "candor-reader-killed"), age(fs::path(temporary.path()) / "another");
  {
    auto live = Store::OpenAsReader(folder.path());
    ASSERT_TRUE(live.has_value()) << live.error().Message();
    std::set<std::string> now = names();
    EXPECT_EQ(now.erase("candor-reader-killed"), 0u);
    EXPECT_EQ(now.erase("candor-reader-young") + now.erase("another"), 2u);
    ASSERT_EQ(now.size(), 1u);
    age(fs::path(temporary.path()) / *now.begin());
    ASSERT_TRUE(Store::OpenAsReader(folder.path()).has_value());
    EXPECT_EQ(names().count(*now.begin()), 1u) << "it is old, but somebody reads";
  }
  EXPECT_EQ(names(), (std::set<std::string>{"another", "candor-reader-young"}));
  keep.empty() ? ::unsetenv("TMPDIR") : ::setenv("TMPDIR", keep.c_str(), 1);
}

}  // namespace
}  // namespace candor
