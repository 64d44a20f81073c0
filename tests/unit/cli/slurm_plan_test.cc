#include "cli/slurm_plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "cli/deploy_files.h"
#include "cli/done_record.h"
#include "cli/placement.h"
#include "cli/state_dir.h"
#include "core/fs.h"
#include "core/rendezvous.h"

namespace candor::cli {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

Recipe TinyRecipe() {
  Recipe recipe;
  recipe.run.name = "tiny";
  recipe.trainer.ranks = 4, recipe.trainer.threads = 2;
  recipe.rollout.workers = 3;
  return recipe;
}
SlurmSite Site() { return {"/opt/candor", "/runs/it's", "/home dir", kJobTemplate}; }

TEST(SlurmPlan, FourJobsThatWaitForTheCoordinatorOnly) {
  Recipe recipe = TinyRecipe();
  recipe.slurm.partition = "gpu", recipe.slurm.time = "04:00:00", recipe.slurm.warn_s = 90, recipe.slurm.gres = "gpu:a100:1";
  recipe.slurm.prologue = {"module load openmpi"};
  recipe.slurm.extra = {"--mem=8G", "learners: --nodes=2"};
  const SlurmPlan plan = *PlanSlurm(recipe, Site(), {});
  EXPECT_EQ(plan.layout, "jobs");
  std::vector<std::string> roles, after;
  for (const SlurmJob& job : plan.jobs) roles.push_back(job.role), after.push_back(job.after);
  EXPECT_THAT(roles, ElementsAre("coordinator", "learners", "rewards", "rollouts"));
  EXPECT_THAT(after, ElementsAre("", "coordinator", "coordinator", "coordinator"));
  const std::string learners = plan.jobs[1].script;
  EXPECT_THAT(learners,
              AllOf(HasSubstr("#SBATCH --ntasks=4\n"), HasSubstr("--cpus-per-task=2"), HasSubstr("--signal=B:USR1@90"),
                    HasSubstr("--open-mode=append"), HasSubstr("--requeue"), HasSubstr("--partition=gpu"), HasSubstr("--time=04:00:00"),
                    HasSubstr("--mem=8G"), HasSubstr("--nodes=2"), HasSubstr("--gres=gpu:a100:1"), HasSubstr("\nmodule load openmpi\n"),
                    HasSubstr("run_dir='/runs/it'\\''s'"), Not(HasSubstr("--array")), Not(HasSubstr("{{"))));
  EXPECT_THAT(plan.jobs[0].script, AllOf(Not(HasSubstr("--nodes=2")), Not(HasSubstr("--gres")), HasSubstr("--mem=8G")));
  EXPECT_THAT(plan.jobs[3].script, AllOf(HasSubstr("--array=0-2"), HasSubstr("--gres=gpu:a100:1"), HasSubstr("job-rollouts-%a.log")));
}

TEST(SlurmPlan, OneJobWhereEverythingFitsOneNode) {
  Recipe recipe = TinyRecipe();
  const SlurmPlan fits = *PlanSlurm(recipe, Site(), {64, 0});
  EXPECT_EQ(fits.layout, "one_job");
  ASSERT_EQ(fits.jobs.size(), 1u);
  EXPECT_THAT(fits.jobs[0].script, AllOf(HasSubstr("role=all"), HasSubstr("--cpus-per-task=19")));
  EXPECT_EQ(PlanSlurm(recipe, Site(), {18, 0})->layout, "jobs");
  recipe.placement.trainer_gpus = 4, recipe.placement.rollout_gpus = 3;
  EXPECT_EQ(PlanSlurm(recipe, Site(), {64, 4})->layout, "jobs") << "7 GPUs are more than 4";
  recipe.placement.colocate = true;
  EXPECT_EQ(PlanSlurm(recipe, Site(), {64, 4})->layout, "one_job") << "taking turns, 4 are enough";
  recipe.run.layout = "jobs";
  EXPECT_EQ(PlanSlurm(recipe, Site(), {64, 8})->layout, "jobs");
}

TEST(SlurmPlan, SinfoIsRead) {
  EXPECT_EQ(LargestNode("8 (null)\n64+ gpu:a100:4(S:0-1),gpu:x:1\n128 gpu:2\n").cpus, 128);
  EXPECT_EQ(LargestNode("8 (null)\n64+ gpu:a100:4(S:0-1)\n128 gpu:2\n").gpus, 4);
  EXPECT_EQ(LargestNode("").cpus, 0);
}

TEST(SlurmPlan, AnOwnTemplateIsCheckedByName) {
  SlurmSite site = Site();
  site.template_text = "#!/bin/bash\n{{directives}}\n{{candor}} job {{role}} --run-dir {{run_dir}} {{colour}}\n";
  Recipe recipe = TinyRecipe();
  recipe.slurm.template_file = "mine.sbatch";
  EXPECT_THAT(PlanSlurm(recipe, site, {}).error().Message(), AllOf(HasSubstr("{{colour}}"), HasSubstr("mine.sbatch")));
  site.template_text = "#!/bin/bash\n{{directives}}\n{{candor}} job {{role}}\n";
  EXPECT_THAT(PlanSlurm(recipe, site, {}).error().Message(), HasSubstr("lacks {{run_dir}}"));
}

// sbatch splits #SBATCH lines at blanks and at quotes of its own; tests/slurm asks a real one.
TEST(SlurmPlan, NamesWithBlanksAndQuotesStayOneWord) {
  Recipe recipe = TinyRecipe();
  recipe.run.name = "my first run", recipe.slurm.partition = "two words";
  SlurmSite site = Site();
  site.run_dir = "/runs/a \"50%\" #run";
  const SlurmPlan plan = *PlanSlurm(recipe, site, {});
  EXPECT_THAT(plan.jobs[3].script,
              AllOf(HasSubstr("#SBATCH --job-name=\"my first run-rollouts\"\n"), HasSubstr("#SBATCH --chdir=\"/home dir\"\n"),
                    HasSubstr("#SBATCH --output=\"/runs/a \\\"50%%\\\" #run/logs/job-rollouts-%a.log\"\n"),
                    HasSubstr("#SBATCH --partition=\"two words\"\n")));
  EXPECT_THAT(
      PlanSlurm(TinyRecipe(), Site(), {})->jobs[0].script,
      AllOf(HasSubstr("#SBATCH --job-name=tiny-coordinator\n"), HasSubstr("#SBATCH --output=\"/runs/it's/logs/job-coordinator.log\"\n")));
  recipe.run.name = "two\nlines";
  EXPECT_THAT(PlanSlurm(recipe, site, {}).error().Message(), AllOf(HasSubstr("the run's `name`"), HasSubstr("control character")));
  recipe.run.name = "tiny", site.run_dir = "/runs/a\\b";
  EXPECT_THAT(PlanSlurm(recipe, site, {}).error().Message(), AllOf(HasSubstr("the run's folder"), HasSubstr("/runs/a\\b")));
}

TEST(SlurmPlan, JoinersGetIndicesOfTheirOwn) {
  const SlurmJob job = *PlanMoreRollouts(TinyRecipe(), Site(), 3, 2);
  EXPECT_THAT(job.script, HasSubstr("--array=3-4"));
  EXPECT_EQ(job.file, "/runs/it's/jobs/rollouts-3.sbatch");
}

TEST(Placement, LearnersTakeTheFirstNodesAndRolloutsTheRest) {
  Recipe recipe = TinyRecipe();
  Allocation four{{"n1", "n2", "n3", "n4"}, 4, 0};
  NodesOfRoles places = SpreadOverNodes(recipe, four);
  EXPECT_THAT(places.trainer, ElementsAre(0u, 1u));  // 4 ranks x 2 threads on nodes of 4 CPUs
  EXPECT_THAT(places.rollouts, ElementsAre(2u, 3u, 2u));
  recipe.placement.colocate = true;
  EXPECT_THAT(SpreadOverNodes(recipe, four).rollouts, ElementsAre(0u, 1u, 2u));
  four.gpus_per_node = 2, recipe.placement = {4, 3, false};
  EXPECT_THAT(SpreadOverNodes(recipe, four).trainer, ElementsAre(0u, 1u));
  const Allocation one{{"n1"}, 4, 0};
  EXPECT_THAT(SpreadOverNodes(recipe, one).trainer, ElementsAre(0u));
  EXPECT_THAT(SpreadOverNodes(recipe, one).rollouts, ElementsAre(0u, 0u, 0u));
  for (const ChildSpec& spec : PlaceRoles(recipe, {"/runs/x"}, Spread::kAllocation, four)) {
    EXPECT_EQ(spec.command[0], "srun") << spec.name;
    EXPECT_EQ(spec.stop_signal, SIGUSR1) << "TERM makes srun kill its tasks: " << spec.name;
    EXPECT_TRUE(spec.proof) << "srun returns 0 when it lost a node: " << spec.name;
  }
}

TEST(Placement, DevicesAreSharedOutOnOneMachine) {
  ::setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7", 1);
  Recipe recipe = TinyRecipe();
  const auto devices = [&] {
    std::vector<std::string> all;
    for (const ChildSpec& spec : PlaceRoles(recipe, {"/runs/x"}, Spread::kThisMachine))
      if (spec.name == "trainer" || spec.name.starts_with("rollout"))
        all.push_back(spec.environment.count("CUDA_VISIBLE_DEVICES") ? spec.environment.at("CUDA_VISIBLE_DEVICES") : "all");
    return all;
  };
  EXPECT_THAT(devices(), ElementsAre("all", "all", "all", "all"));
  recipe.placement = {2, 2, false};
  EXPECT_THAT(devices(), ElementsAre("6", "7", "6", "4,5"));
  recipe.placement.colocate = true;
  EXPECT_THAT(devices(), ElementsAre("all", "all", "all", "all"));
  ::unsetenv("CUDA_VISIBLE_DEVICES");
}

TEST(Placement, ThreadsSpinWhereEachHasACore) {
  Recipe recipe = TinyRecipe();
  const auto spin = [&] { return PlaceRoles(recipe, {"/runs/x"}, Spread::kThisMachine).back().environment["GOMP_SPINCOUNT"]; };
  ::unsetenv("GOMP_SPINCOUNT");
  recipe.trainer.threads = 1024;
  EXPECT_EQ(spin(), "1500");
  recipe.trainer.ranks = recipe.trainer.threads = 0, recipe.rollout.workers = 0;
  EXPECT_EQ(spin(), "300000");
  ::setenv("GOMP_SPINCOUNT", "7", 1);
  EXPECT_EQ(spin(), "") << "what the user says is inherited";
  ::unsetenv("GOMP_SPINCOUNT");
}

// It ends with 0 when something tells it to end; without its record the run is not finished, and it is started again.
TEST(Placement, ACoordinatorIsDoneWithTheRunOnly) {
  const RunDir run{::testing::TempDir() + "/candor_placed"};
  std::filesystem::remove_all(run.path);
  ASSERT_TRUE(MakeFolders(run.path));
  Recipe recipe = TinyRecipe();
  const std::vector<ChildSpec> specs = PlaceRoles(recipe, run, Spread::kThisMachine);
  ASSERT_EQ(specs[0].name, "coordinator");
  ASSERT_TRUE(specs[0].proof);
  EXPECT_FALSE(specs[0].proof());
  ASSERT_TRUE(RecordRunFinished(run.path, static_cast<uint64_t>(recipe.trainer.steps)));
  EXPECT_TRUE(specs[0].proof());
}

TEST(Placement, AContainerRunsTheRoles) {
  Recipe recipe = TinyRecipe();
  recipe.slurm.container = "/images/candor.sif";
  recipe.run.device = "cpu";
  EXPECT_THAT(PlaceCoordinator(recipe, {"/runs/x"}).command,
              ElementsAre("apptainer", "exec", "--bind", "/runs/x", "/images/candor.sif", "candor", "coordinator", "--run-dir", "/runs/x"));
}

class DoneRecord : public ::testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(run_.path);
    ASSERT_TRUE(MakeFolders(run_.path));
    ASSERT_TRUE(EnsureKeys(run_));
  }
  RunDir run_{::testing::TempDir() + "/candor_done_record"};
};

TEST_F(DoneRecord, ATrainersWordCountsForItsStepsOnly) {
  EXPECT_FALSE(IsTrainerDone(run_, 1));
  ASSERT_TRUE(RecordTrainerDone(run_, 20));
  EXPECT_TRUE(IsTrainerDone(run_, 20));
  EXPECT_FALSE(IsTrainerDone(run_, 21)) << "a resume that asks for more steps is not done";
  ASSERT_TRUE(WriteFileAtomic(run_.TrainerDone(), R"({"record":{"steps":99},"mac":"00"})"));
  EXPECT_FALSE(IsTrainerDone(run_, 1)) << "forged";
}

TEST_F(DoneRecord, ARunIsNotDoneByAFileThatAnybodyCouldWrite) {
  Recipe recipe = TinyRecipe();
  ASSERT_TRUE(WriteFileAtomic(run_.Summary(), "{}"));
  ASSERT_TRUE(WriteFileAtomic(run_.Done(), R"({"name":"tiny"})"));
  EXPECT_FALSE(IsRunDone(run_));
  ASSERT_TRUE(RecordRunDone(run_, recipe));
  EXPECT_TRUE(IsRunDone(run_));
  EXPECT_THAT(DescribeFinished(run_, recipe), testing::EndsWith("holds a finished run"));
  ++recipe.trainer.steps;
  EXPECT_THAT(DescribeFinished(run_, recipe), HasSubstr("not made longer"));
  std::filesystem::rename(run_.Done(), run_.TrainerDone());
  EXPECT_FALSE(IsTrainerDone(run_, 1)) << "one record stands in for another";
}

TEST_F(DoneRecord, TheStateFolderIsFoundThroughTheRun) {
  Recipe recipe = TinyRecipe();
  EXPECT_EQ(StateDirOf(recipe, run_), run_.path);
  recipe.run.state_dir = run_.path + "-state";
  std::filesystem::remove_all(recipe.run.state_dir);
  ASSERT_TRUE(PrepareStateDir(recipe, run_));
  ASSERT_TRUE(WriteFileAtomic(recipe.run.state_dir + "/tiny/ledger/x", "1"));
  EXPECT_TRUE(FileExists(run_.path + "/ledger/x"));
  EXPECT_TRUE(PrepareStateDir(recipe, run_)) << "a resume finds it as it was";
  for (const std::string& other : {run_.path + "-state-2", std::string()}) {
    recipe.run.state_dir = other;
    const Status moved = PrepareStateDir(recipe, run_);
    ASSERT_FALSE(moved) << "another ledger and other epochs would begin beside the old checkpoints: '" << other << "'";
    EXPECT_THAT(moved.error().Message(), HasSubstr("candor_done_record-state/tiny"));
  }
}

}  // namespace
}  // namespace candor::cli
