// What Slurm's programs say and what is made of it; stand-ins for them lie first in PATH.
#include "cli/slurm_client.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/fs.h"

namespace candor::cli {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class Slurm : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_ + "/jobs");
    ::setenv("PATH", (folder_ + ":" + path_).c_str(), 1);
  }
  void TearDown() override { ::setenv("PATH", path_.c_str(), 1); }
  // A program that keeps its arguments and prints this.
  void Says(const std::string& program, const std::string& output, int code = 0) {
    const std::string file = folder_ + "/" + program;
    std::ofstream(file) << "#!/bin/sh\necho \"$*\" >" << file << ".asked\ncat <<'END'\n" << output << "\nEND\nexit " << code << "\n";
    std::filesystem::permissions(file, std::filesystem::perms::owner_all);
  }
  std::string Asked(const std::string& program) { return ReadFile(folder_ + "/" + program + ".asked").value_or(""); }
  std::vector<std::string> Moved(std::vector<std::string> command) {
    MoveFromDeadNodes(command, {"n1", "n2", "n3", "n4"});
    return command;
  }

  const std::string folder_ = testing::TempDir() + "/candor_slurm", path_ = std::getenv("PATH");
  const RunDir run_{folder_};
};

const std::vector<std::string> kStep = {"srun", "--nodes=2", "--nodelist=n1,n2", "candor"};

TEST_F(Slurm, AStepOnLiveNodesStaysWhereItIs) {
  Says("sinfo", "n1 allocated\nn2 mixed\nn3 idle\nn4 idle");
  EXPECT_EQ(Moved(kStep), kStep);
  EXPECT_THAT(Asked("sinfo"), HasSubstr("--nodes=n1,n2,n3,n4"));
}

TEST_F(Slurm, ADeadNodeIsReplacedFromTheLastOneOn) {
  Says("sinfo", "n1 allocated\nn2 down*\nn3 idle\nn4 idle");
  EXPECT_THAT(Moved(kStep), ElementsAre("srun", "--nodes=2", "--nodelist=n1,n4", "candor"));
  Says("sinfo", "n1 allocated*\nn2 down\nn3 idle\nn4 down*");  // a star: Slurm does not hear it
  EXPECT_THAT(Moved(kStep), ElementsAre("srun", "--nodes=1", "--nodelist=n3", "candor"));
}

TEST_F(Slurm, AStepShrinksWhereThereAreTooFewNodes) {
  Says("sinfo", "n1 down*\nn2 allocated\nn3 down*\nn4 down*");
  EXPECT_THAT(Moved(kStep), ElementsAre("srun", "--nodes=1", "--nodelist=n2", "candor"));
}

TEST_F(Slurm, NothingIsMovedWhereSlurmSaysNothingOrAllIsDead) {
  Says("sinfo", "slurm_load_node error: Unable to contact slurm controller", 1);
  EXPECT_EQ(Moved(kStep), kStep);
  Says("sinfo", "n1 down*\nn2 down*\nn3 down*\nn4 down*");
  EXPECT_EQ(Moved(kStep), kStep);
  Says("sinfo", "n1 down*\nn2 down*\nn3 idle\nn4 idle");
  EXPECT_THAT(Moved({"srun", "--nodes=2", "candor"}), ElementsAre("srun", "--nodes=2", "candor")) << "a step that names no nodes";
}

TEST_F(Slurm, AJobIsWhereItsForemostTaskIs) {
  Says("squeue", "PENDING\nRUNNING\nPENDING");
  EXPECT_EQ(*FindJob("7"), Presence::kRuns);
  Says("squeue", "PENDING\nREQUEUE_HOLD");
  EXPECT_EQ(*FindJob("7"), Presence::kQueues);
  Says("squeue", "");
  EXPECT_EQ(*FindJob("7"), Presence::kGone);
  EXPECT_THAT(Asked("squeue"), HasSubstr("--jobs=7"));
}

TEST_F(Slurm, TheListOfJobsIsReadAsItWasWritten) {
  EXPECT_TRUE(ReadSubmitted(run_)->empty());
  ASSERT_TRUE(WriteSubmitted(run_, {{"learners", "12", "jobs/learners.sbatch"}, {"rollouts", "13", "r"}}));
  const auto jobs = ReadSubmitted(run_);
  ASSERT_TRUE(jobs);
  ASSERT_EQ(jobs->size(), 2u);
  EXPECT_EQ((*jobs)[1].id, "13");
}

// A damaged list once ended the process with an exception.
TEST_F(Slurm, ADamagedListOfJobsIsRefusedByItsPlace) {
  ASSERT_TRUE(
      WriteFileAtomic(run_.Jobs() + "/submitted.json", R"([{"role": "learners", "id": "12", "file": "f"}, {"role": 3, "id": null}])"));
  const auto jobs = ReadSubmitted(run_);
  ASSERT_FALSE(jobs);
  EXPECT_THAT(jobs.error().what, HasSubstr("job 2"));
}

// What was submitted before a submission failed is on the list: it is there, and is not called back again.
TEST_F(Slurm, AJobThatWasCalledBackIsKnownThoughTheNextOneFails) {
  ASSERT_TRUE(WriteSubmitted(run_, {{"learners", "12", "l"}, {"rewards", "13", "w"}, {"rollouts", "14", "r"}}));
  Says("squeue", "");
  const std::string sbatch = folder_ + "/sbatch";
  std::ofstream(sbatch) << "#!/bin/sh\nfor file; do :; done\n[ $file = w ] && echo 21 && exit 0\necho no more than 2 jobs >&2\nexit 1\n";
  std::filesystem::permissions(sbatch, std::filesystem::perms::owner_all);
  EXPECT_FALSE(CallBack(run_));
  const auto jobs = ReadSubmitted(run_);
  ASSERT_TRUE(jobs);
  EXPECT_EQ((*jobs)[0].id, "12");
  EXPECT_EQ((*jobs)[1].id, "21");
  EXPECT_EQ((*jobs)[2].id, "14");
}

}  // namespace
}  // namespace candor::cli
