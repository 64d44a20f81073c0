// A fine-tuning that is told to stop keeps what it learned and goes on from there, with the bits of one that was never stopped.
#include "core/fs.h"
#include "text/rows.h"
#include "tiny.h"
#include "trainer/sft.h"

namespace candor {
namespace {

constexpr int64_t kSteps = 6;

struct Trained {
  Status status;
  std::vector<int64_t> steps;  // that this life did, rank 0
};

// Stops behind `stop_after` steps; 0: never.
Trained Train(const DataSet& rows, const std::string& out, const std::string& keep, int64_t stop_after, int ranks) {
  std::atomic<bool> stop = false;
  Trained trained;
  const auto each = tiny::OnRanks<Status>(ranks, [&](Collective& collective) {
    SftSetup setup;
    setup.model_folder = std::string(CANDOR_SOURCE_DIR) + "/recipes/tiny/model";
    setup.out_folder = out, setup.keep_folder = keep;
    setup.device = "cpu", setup.dtype = "fp32", setup.deterministic = true;
    setup.format.tags = {}, setup.format.confidence = "none", setup.format.system_prompt = "";
    setup.options.steps = kSteps, setup.options.rows_per_step = 8, setup.options.threads = 1, setup.options.schedule.lr = 1e-3;
    setup.options.ema_decay = 0.5, setup.options.sharding = ranks > 1 ? "zero2" : "none";
    setup.rows = &rows, setup.stop = &stop;
    setup.progress = [&](int64_t step, int64_t, const SftStepResult&) {
      trained.steps.push_back(step);
      if (step == stop_after) stop = true;
    };
    return RunSupervised(setup, collective);
  });
  trained.status = each[0];
  for (const Status& status : each) EXPECT_EQ(status.has_value(), each[0].has_value());
  return trained;
}

DataSet FormatRows() {
  return ReadDataSet(std::string(CANDOR_SOURCE_DIR) + "/recipes/tiny/format.jsonl", {}, {.answer = false, .completion = true}).value();
}

std::string WeightsIn(const std::string& folder) { return HashFileHex(folder + "/model.safetensors").value(); }

TEST(StoppedFineTuning, GoesOnWhereItWasAndEndsWithTheSameBits) {
  const DataSet rows = FormatRows();
  for (int ranks : {1, 2}) {
    tiny::Folder place;
    const std::string keep = place.path() + "/keep";
    ASSERT_TRUE(Train(rows, place.path() + "/whole", "", 0, ranks).status);
    const Trained first = Train(rows, place.path() + "/parts", keep, 3, ranks);
    ASSERT_FALSE(first.status);
    EXPECT_EQ(first.status.error().code, ErrorCode::kCancelled);
    EXPECT_NE(first.status.error().Message().find("stopped after step 3 of 6"), std::string::npos) << first.status.error().Message();
    EXPECT_FALSE(FileExists(place.path() + "/parts/model.safetensors"));
    const Trained second = Train(rows, place.path() + "/parts", keep, 5, ranks);
    EXPECT_EQ(second.steps, (std::vector<int64_t>{4, 5})) << "steps that were done are not done again";
    const Trained third = Train(rows, place.path() + "/parts", keep, 0, ranks);
    ASSERT_TRUE(third.status) << third.status.error().Message();
    EXPECT_EQ(third.steps, std::vector<int64_t>{6});
    EXPECT_EQ(WeightsIn(place.path() + "/parts"), WeightsIn(place.path() + "/whole"));
    EXPECT_FALSE(FileExists(keep)) << "nothing is unfinished any more";
  }
}

// As on a full disk.
TEST(StoppedFineTuning, WhatCannotBeKeptIsSaidAndNoReasonToFail) {
  const DataSet rows = FormatRows();
  tiny::Folder place;
  const std::string keep = place.path() + "/keep";
  std::filesystem::create_symlink(place.path() + "/nowhere/keep", keep);
  const Trained stopped = Train(rows, place.path() + "/out", keep, 3, 2);
  ASSERT_FALSE(stopped.status);
  EXPECT_EQ(stopped.status.error().code, ErrorCode::kCancelled) << stopped.status.error().Message();
  EXPECT_NE(stopped.status.error().what.find("could not be kept"), std::string::npos) << stopped.status.error().Message();
  EXPECT_EQ(stopped.status.error().fix, "");
}

// Who asks for nothing to be kept starts afresh.
TEST(StoppedFineTuning, WithoutAFolderNothingIsKept) {
  const DataSet rows = FormatRows();
  tiny::Folder place;
  const Trained stopped = Train(rows, place.path() + "/out", "", 3, 1);
  ASSERT_FALSE(stopped.status);
  EXPECT_EQ(stopped.status.error().code, ErrorCode::kCancelled);
  EXPECT_EQ(Train(rows, place.path() + "/out", "", 0, 1).steps.front(), 1);
}

}  // namespace
}  // namespace candor
