// What a recipe may not hold: keys that nothing reads, parts that do not fit together, files that are not there. Each refusal says where.
#include "cli/recipe_check.h"

#include <gmock/gmock.h>

#include <filesystem>

#include "cli/commands.h"
#include "cli/unread_keys.h"
#include "core/fs.h"
#include "tests/unit/cli/outcome.h"

namespace candor::cli {
namespace {

using testing::AllOf;
using testing::EndsWith;
using testing::HasSubstr;

// A slot trained beside the answer, with every section that the cases below change.
constexpr char kRecipe[] = R"(name = "mine"
model = "models/x"

[[data.train]]
path = "rows.jsonl"

[format]
tags = ["answer", "confidence"]
confidence = "slot"
slot_high = "high"
slot_low = "low"

[[verifier]]
name = "exact"
kind = "exact_match"

[[objective]]
channel = "accuracy"
segment = "answer"

[[objective]]
channel = "accuracy"
segment = "slot"
loss = "squared_error"
)";

class RecipeCheck : public testing::Test {
 protected:
  void SetUp() override {
    folder_ = testing::TempDir() + "/candor_recipe_check";
    std::filesystem::create_directories(folder_);
    path_ = folder_ + "/recipe.toml";
    ASSERT_TRUE(WriteFileAtomic(path_, kRecipe));
  }
  Error Refused(const std::vector<std::string>& overrides) const {
    const auto recipe = LoadRecipe({path_}, overrides);
    EXPECT_FALSE(recipe) << "accepted: " << overrides.front();
    return recipe ? Error{} : recipe.error();
  }
  std::string folder_, path_;
};

TEST_F(RecipeCheck, TheRecipeItselfIsFine) {
  const auto recipe = LoadRecipe({path_}, {});
  ASSERT_TRUE(recipe) << recipe.error().Message();
}

TEST_F(RecipeCheck, AKeyThatNothingReadsIsAnErrorWithItsPlace) {
  const std::pair<const char*, const char*> cases[] = {
      {"warm_up.lr=1e-3", "warm_up"},
      {"self_answers.rows=x.jsonl", "self_answers"},
      {"sft.lr=1e-3", "stages sft"},
      {"sft_rows.path=x.jsonl", "stage sft"},
      {"prepare.creates=x", "prepare.command"},
      {"trainer.clip_low=0.1", "ppo_clip"},
      {"trainer.length_norm=9", "fixed_length"},
      {"trainer.final_lr_ratio=0.5", "schedule"},
      {"trainer.tis_max=1.5", "learner"},
      {"objective.0.target=0.5", "slot"},
      {"objective.1.advantage=none", "policy_gradient"},
      {"objective.0.discrepancy_steps=9", "discrepancy above 0"},
      {"objective.1.discrepancy=0.25", "policy_gradient"},
      {"verifier.0.f1_threshold=0.4", "f1"},
      {"verifier.0.url=http://127.0.0.1/", "http"},
      {"verifier.0.timeout_s=3", "command"},
  };
  for (const auto& [override_text, reader] : cases) {
    const std::string given = override_text, key = given.substr(0, given.find('='));
    const Error error = Refused({given});
    EXPECT_EQ(error.code, ErrorCode::kInvalidInput);
    EXPECT_THAT(error.what, HasSubstr("nothing reads")) << given;
    EXPECT_THAT(error.what, HasSubstr(key.substr(key.rfind('.') + 1))) << given;
    EXPECT_THAT(error.where, HasSubstr(given)) << "the place is the override itself";
    EXPECT_THAT(error.fix, HasSubstr(reader)) << given;
  }
}

TEST_F(RecipeCheck, ThePlaceOfAnUnreadKeyIsItsLine) {
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/more.toml", "[trainer]\nlr = 1e-4\nclip_max = 3.0\nloss = \"rloo\"\n"));
  const auto recipe = LoadRecipe({path_, folder_ + "/more.toml"}, {});
  ASSERT_FALSE(recipe);
  EXPECT_THAT(recipe.error().what, HasSubstr("trainer.clip_max"));
  EXPECT_THAT(recipe.error().where, EndsWith("more.toml:3"));
  // The second objective's, although the first one has such a key that is read.
  const auto list = LoadRecipe({path_}, {"objective.0.advantage=leave_one_out", "objective.1.advantage=none"});
  ASSERT_FALSE(list);
  EXPECT_THAT(list.error().what, HasSubstr("objective[1].advantage"));
  EXPECT_THAT(list.error().where, HasSubstr("objective.1.advantage=none"));
}

TEST_F(RecipeCheck, KeysThatAreReadAndDefaultsAreAccepted) {
  for (const std::vector<std::string>& overrides :
       std::vector<std::vector<std::string>>{{"trainer.loss=ppo_clip", "trainer.clip_low=0.1"},
                                             {"trainer.loss=dr_grpo", "trainer.length_norm=9"},
                                             {"trainer.schedule=cosine", "trainer.final_lr_ratio=0.5"},
                                             {"objective.1.target=0.5"},
                                             {"trainer.clip_low=0.2"},  // its default: what a resolved recipe writes out
                                             {"stages=['sft', 'rl']", "sft_rows.path=x.jsonl", "sft.lr=1e-3"},
                                             {"verifier.0.kind=f1", "verifier.0.f1_threshold=0.4", "objective.0.channel=f1"}}) {
    const auto recipe = LoadRecipe({path_}, overrides);
    EXPECT_TRUE(recipe) << recipe.error().Message();
  }
}

TEST_F(RecipeCheck, AResolvedRecipeLoadsAgain) {
  auto recipe = LoadRecipe({path_}, {});
  ASSERT_TRUE(recipe);
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/resolved.toml", ResolvedText(*recipe)));
  const auto again = LoadRecipe({folder_ + "/resolved.toml"}, {});
  EXPECT_TRUE(again) << again.error().Message();
}

TEST_F(RecipeCheck, PartsThatDoNotFitAreNamed) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"stages=['rl', 'sft']", "sft_rows.path=x"}, "order"},
      {{"stages=['rl', 'rl']"}, "twice"},
      {{"stages=['sft', 'rl']"}, "sft_rows.path"},
      {{"format.tags=['answer', 'foo']"}, "there is no tag"},
      {{"objective.0.channel=accuracyy"}, "did you mean `accuracy`"},
      {{"objective.0.channel=accuracy +"}, "objective[0].channel"},
      {{"objective.0.segment=reasoning"}, "no tag think"},
      {{"objective.0.segment=confidence"}, "does not write its confidence"},
      {{"objective.1.loss=policy_gradient"}, "the slot is regressed"},
      {{"trainer.loss=decoupled_ppo"}, "nothing is decoupled"},
      {{"format.confidence=verbal"}, "nothing reads `format.slot_high`"},
      {{"reward.verifier=exakt"}, "did you mean 'exact'"},
      {{"verifier.0.kind=command"}, "no command"},
      {{"reward.signal=verbal"}, "signal"},
      {{"rollout.page_tokens=17"}, "multiple of 16"},
      {{"name=a/b"}, "plain folder name"},
  };
  for (const auto& [overrides, words] : cases) EXPECT_THAT(Refused(overrides).Message(), HasSubstr(words)) << overrides.front();
}

TEST_F(RecipeCheck, AUsersVerifierMayFillAnyChannel) {
  const auto recipe = LoadRecipe({path_}, {"verifier.0.kind=command", "verifier.0.command=['cat']", "objective.0.channel=brevity"});
  EXPECT_TRUE(recipe) << recipe.error().Message();
}

TEST_F(RecipeCheck, InputsAreReadBeforeAnythingIsStarted) {
  const std::string model = std::string(CANDOR_SOURCE_DIR) + "/recipes/tiny/model", rows = folder_ + "/rows.jsonl";
  const std::vector<std::string> good = {"model=" + model, "data.train.0.path=" + rows, "format.slot_high= high", "format.slot_low= low"};
  const auto check = [&](std::vector<std::string> more) {
    more.insert(more.begin(), good.begin(), good.end());
    const auto recipe = LoadRecipe({path_}, more);
    EXPECT_TRUE(recipe) << recipe.error().Message();
    const Status status = CheckInputs(*recipe);
    return status ? std::string() : status.error().Message();
  };
  ASSERT_TRUE(WriteFileAtomic(rows, "{\"prompt\": \"a\", \"answer\": \"b\"}\n\n{\"prompt\": \"a\"}\n"));
  EXPECT_THAT(check({}), HasSubstr("rows.jsonl:3"));
  ASSERT_TRUE(WriteFileAtomic(rows, "{\"prompt\": \"a\", \"answer\": \"b\"}\n"));
  EXPECT_EQ(check({}), "");
  EXPECT_THAT(check({"model=/no/such/model"}), HasSubstr("no such folder (/no/such/model)"));
  EXPECT_THAT(check({"format.slot_high=two words"}), HasSubstr("format.slot_high"));
  EXPECT_THAT(check({"stages=['sft', 'rl']", "sft_rows.path=" + rows}), HasSubstr("\"completion\" is missing"));
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/evals.toml", "[[eval]]\nname = \"test\"\npath = \"/no/such/rows.jsonl\"\n"));
  const auto recipe = LoadRecipe({path_, folder_ + "/evals.toml"}, good);
  ASSERT_TRUE(recipe) << recipe.error().Message();
  EXPECT_THAT(CheckInputs(*recipe).error().Message(), HasSubstr("/no/such/rows.jsonl"));
}

TEST_F(RecipeCheck, RunRefusesWhatIsKnownToMiscalibrate) {
  const std::string folder = folder_ + "/run";
  const std::vector<std::string> command = {"run",       path_, "objective.0.channel=0.1*accuracy + brier", "reward.filter=none",
                                            "--run-dir", folder};
  const Outcome refused = RunCommand(RunRun, command);
  EXPECT_EQ(refused.code, static_cast<int>(ExitCode::kInvalidInput));
  EXPECT_THAT(refused.err, AllOf(HasSubstr("calibration_outweighs_accuracy"), HasSubstr("allow = [")));
  EXPECT_FALSE(FileExists(folder));
  std::vector<std::string> allowed = command;
  allowed.insert(allowed.end(), {"allow=['calibration_outweighs_accuracy']", "--dry-run"});
  EXPECT_EQ(RunCommand(RunRun, allowed).code, 0);
}

}  // namespace
}  // namespace candor::cli
