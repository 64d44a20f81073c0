// The linter refuses what is known to miscalibrate, with a reason and a fix, and lets it pass where the recipe allows it by name.
#include "cli/lint.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <filesystem>

#include "cli/recipe_check.h"
#include "core/fs.h"

namespace candor::cli {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Not;

constexpr char kHead[] = R"(name = "mine"
model = "models/x"
[[data.train]]
path = "rows.jsonl"
[format]
tags = ["answer", "confidence"]
confidence = "verbal"
)";

class Lints : public testing::Test {
 protected:
  void SetUp() override { std::filesystem::create_directories(folder_); }
  std::vector<Finding> Of(const std::string& objectives, const std::vector<std::string>& overrides = {"reward.filter=none"}) const {
    EXPECT_TRUE(WriteFileAtomic(folder_ + "/r.toml", kHead + objectives));
    const auto recipe = LoadRecipe({folder_ + "/r.toml"}, overrides);
    EXPECT_TRUE(recipe) << recipe.error().Message();
    return recipe ? Lint(*recipe) : std::vector<Finding>{};
  }
  static std::vector<std::string> Refusals(const std::vector<Finding>& findings) { return Names(findings, true); }
  static std::vector<std::string> Warnings(const std::vector<Finding>& findings) { return Names(findings, false); }
  std::string folder_ = testing::TempDir() + "/candor_lint";

 private:
  static std::vector<std::string> Names(const std::vector<Finding>& findings, bool refuses) {
    std::vector<std::string> names;
    for (const Finding& f : findings)
      if (f.refuses == refuses) names.push_back(f.name);
    return names;
  }
};

std::string All(const std::string& channel, const std::string& more = "") {
  return "[[objective]]\nchannel = \"" + channel + "\"\n" + more;
}
const std::string kOnConfidence = "segment = \"confidence\"\n", kOnAnswer = "segment = \"answer\"\n";
const std::string kSlot = "[[objective]]\nsegment = \"slot\"\nloss = \"squared_error\"\n";

TEST_F(Lints, TheConditionOnWeightsFollowsTheRulesSpread) {
  for (const char* fine : {"accuracy + brier", "rlcr_paper", "rlcr_code", "accuracy + spherical", "soft + soft_brier", "accuracy",
                           "accuracy + 0.14*log", "denoised + denoised_brier"})
    EXPECT_TRUE(Refusals(Of(All(fine))).empty()) << fine;
  for (const char* bad : {"accuracy + 1.1*brier", "accuracy + 0.15*log", "accuracy + log", "sayself", "brier", "rewarding_doubt",
                          "0.5*accuracy + 0.6*spherical", "accuracy + 0.6*brier + 0.6*spherical"})
    EXPECT_THAT(Refusals(Of(All(bad))), Contains("calibration_outweighs_accuracy")) << bad;
  // Two objectives add up on the same tokens; after the answer every proper rule is allowed.
  EXPECT_FALSE(Refusals(Of(All("accuracy + 0.6*brier") + All("0.6*brier"))).empty());
  EXPECT_TRUE(Refusals(Of(All("accuracy", kOnAnswer) + All("log", kOnConfidence))).empty());
  EXPECT_TRUE(Refusals(Of(All("accuracy", "weight = 0.5\n" + kOnAnswer) + All("brier", "weight = 9.0\n" + kOnConfidence))).empty());
}

TEST_F(Lints, ATargetThatIsPartlyTheGroupsMeanIsExplained) {
  const auto named = [&](const std::string& channel, const std::vector<std::string>& settings) {
    std::vector<std::string> names;
    for (const Finding& f : Of(All("accuracy", kOnAnswer) + All(channel, kOnConfidence), settings)) names.push_back(f.name);
    return names;
  };
  EXPECT_THAT(named("hybrid_brier", {"reward.filter=none"}), ElementsAre("hybrid_target"));
  EXPECT_THAT(named("dcpo_code", {"reward.filter=none", "reward.hybrid_group_share=0"}), testing::IsEmpty());
  EXPECT_THAT(named("dcpo_paper", {"reward.filter=none"}), ElementsAre("distance_is_no_rule", "hybrid_target"));
  EXPECT_THAT(Refusals(Of(All("accuracy", kOnAnswer) + All("dcpo_code", "advantage = \"group_std\"\n" + kOnConfidence))),
              Contains("group_std_of_scoring_rule"));
  EXPECT_THAT(Refusals(Of(All("accuracy + 1.1*hybrid_brier"))), Contains("calibration_outweighs_accuracy"));
}

std::string Scheduled(const std::string& channel, const std::string& schedule) {
  return All(channel, "weight_schedule = " + schedule + "\n");
}

TEST_F(Lints, TheConditionHoldsAtEveryStep) {
  const std::vector<std::string> steps = {"reward.filter=none", "trainer.steps=61"};
  const auto breach = [&](const std::string& objectives) -> std::string {
    for (const Finding& f : Of(objectives, steps))
      if (f.name == "calibration_outweighs_accuracy") return f.what;
    return "";
  };
  EXPECT_EQ(breach(All("accuracy") + Scheduled("brier", "\"ramp\"\nweight = 0.0\nweight_to = 1.0")), "");
  EXPECT_EQ(breach(All("accuracy") + Scheduled("brier", "\"ramp\"\nweight = 0.9\nweight_to = 0.1")), "");
  // 2 (t / 60) passes 1 after t = 30 steps: at step 32.
  EXPECT_THAT(breach(All("accuracy") + Scheduled("brier", "\"ramp\"\nweight = 0.0\nweight_to = 2.0")),
              testing::StartsWith("at step 32 of 61, "));
  EXPECT_THAT(breach(All("accuracy") + Scheduled("brier", "\"ramp\"\nweight = 2.0\nweight_to = 0.0")),
              testing::StartsWith("at step 1 of 61, "));
  // Beyond the run's end nothing is promised: half way it is still 1.
  EXPECT_EQ(breach(All("accuracy") + Scheduled("brier", "\"ramp\"\nweight = 0.0\nweight_to = 2.0\nweight_steps = 120")), "");
  // Accuracy that fades breaks it as well: 1 - t / 60 is below 0.25 after 45 steps.
  EXPECT_THAT(breach(Scheduled("accuracy", "\"ramp\"\nweight_to = 0.0") + All("brier", "weight = 0.25\n")),
              testing::StartsWith("at step 47 of 61, "));
  // What follows the measured variance may reach its bound at any step, and accuracy's may reach 0.
  EXPECT_EQ(breach(All("accuracy") + Scheduled("brier", "\"match_std\"\nweight = 5.0\nweight_max = 1.0")), "");
  EXPECT_THAT(breach(All("accuracy") + Scheduled("brier", "\"match_std\"\nweight = 0.5\nweight_max = 1.1")),
              testing::StartsWith("at step 1 of 61, "));
  EXPECT_THAT(breach(Scheduled("accuracy", "\"match_std\"\nweight_max = 2.0") + All("brier", "weight = 0.5\n")),
              testing::StartsWith("at step 1 of 61, "));
  EXPECT_EQ(breach(Scheduled("accuracy + brier", "\"match_std\"\nweight_max = 9.0")), "");
}

TEST_F(Lints, KeysOfAnotherScheduleAreRefused) {
  for (const char* bad :
       {"weight_to = 0.5\n", "weight_steps = 9\n", "weight_max = 2.0\n", "weight_schedule = \"match_std\"\nadvantage = \"batch_std\"\n",
        "weight_schedule = \"ramp\"\nweight_max = 2.0\n"}) {
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/bad.toml", kHead + All("accuracy", bad)));
    const auto recipe = LoadRecipe({folder_ + "/bad.toml"}, {});
    ASSERT_FALSE(recipe) << bad;
    EXPECT_THAT(recipe.error().Message(), testing::HasSubstr("weight_")) << bad;
  }
}

TEST_F(Lints, AllowingByNameLetsANegativeControlPass) {
  std::vector<Finding> findings = Of(All("accuracy + log"), {"reward.filter=none", "allow=['calibration_outweighs_accuracy']"});
  EXPECT_FALSE(Refused(findings));
  EXPECT_TRUE(Refused(Of(All("accuracy + log"))));
  for (const Finding& f : Of(All("accuracy + log"))) EXPECT_TRUE(!f.what.empty() && !f.why.empty() && !f.fix.empty()) << f.name;
}

TEST_F(Lints, NormalisersFiltersVotesAndBaselines) {
  EXPECT_THAT(Refusals(Of(All("accuracy + brier", "advantage = \"group_std\"\n"))), Contains("group_std_of_scoring_rule"));
  EXPECT_TRUE(Refusals(Of(All("accuracy", "advantage = \"group_std\"\n"))).empty());
  EXPECT_THAT(Refusals(Of(All("accuracy") + All("brier", "discrepancy = 0.25\n" + kOnConfidence))),
              Contains("discrepancy_of_scoring_rule"));
  EXPECT_TRUE(Refusals(Of(All("accuracy", "discrepancy = 0.25\n" + kOnAnswer) + All("brier", kOnConfidence))).empty());
  EXPECT_THAT(Warnings(Of(All("accuracy") + All("0.5*brier", "advantage = \"batch_std\"\n"))), Contains("weights_not_comparable"));
  EXPECT_THAT(Refusals(Of(All("accuracy + brier"), {})), Contains("filter_drops_calibration"));
  EXPECT_FALSE(Refused(Of(All("accuracy + brier"), {"allow=['filter_drops_calibration']"})));
  EXPECT_THAT(Refusals(Of(All("accuracy + brier"))), Not(Contains("filter_drops_calibration")));
  EXPECT_TRUE(Refusals(Of(All("accuracy"), {})).empty());  // without a scoring rule the filter is fine
  const std::vector<std::string> slot = {"format.confidence=slot", "format.slot_high=high", "format.slot_low=low"};
  EXPECT_THAT(Refusals(Of(kSlot + "channel = \"majority\"\n", slot)), Contains("majority_labels_feed_calibration"));
  EXPECT_TRUE(Refusals(Of(All("majority", kOnAnswer) + kSlot, slot)).empty());
  EXPECT_THAT(Warnings(Of(All("accuracy", kOnAnswer) + kSlot + "target = 0.5\n", slot)), Contains("hybrid_target"));
  const std::vector<std::string> stored = {"reward.baseline_field=base"};
  EXPECT_THAT(Refusals(Of(All("contrast"), stored)), Contains("contrast_cancels"));
  EXPECT_TRUE(Refusals(Of(All("contrast", "advantage = \"none\"\n"), stored)).empty());
  const std::vector<std::string> abstain = {"reward.abstain=['unknown']"};
  EXPECT_THAT(Warnings(Of(All("tiar"), abstain)), Contains("tiar_is_normalised"));
  EXPECT_THAT(Warnings(Of(All("tiar", "advantage = \"none\"\n"), abstain)), Not(Contains("tiar_is_normalised")));
}

TEST_F(Lints, ADistanceThatReachesStatedConfidences) {
  const std::vector<std::string> kl = {"reward.filter=none", "trainer.kl_weight=0.01"};
  EXPECT_THAT(Warnings(Of(All("accuracy + brier"), kl)), Contains("kl_on_confidence"));
  EXPECT_THAT(Warnings(Of(All("accuracy", kOnAnswer) + All("brier", kOnConfidence), kl)), Contains("kl_on_confidence"));
  EXPECT_THAT(Warnings(Of(All("accuracy + brier"))), Not(Contains("kl_on_confidence")));
  EXPECT_THAT(Warnings(Of(All("accuracy", kOnAnswer), kl)), Not(Contains("kl_on_confidence"))) << "it holds only tokens that are trained";
  EXPECT_THAT(Warnings(Of(All("accuracy", kOnAnswer) + kSlot,
                          {"format.confidence=slot", "format.slot_high=high", "format.slot_low=low", "trainer.kl_weight=0.01"})),
              Not(Contains("kl_on_confidence")));
}

TEST_F(Lints, AFilterOnTheTotalRewardNeverFires) {
  const std::vector<std::string> total = {"reward.filter=reward"};
  EXPECT_THAT(Warnings(Of(All("accuracy + brier"), total)), Contains("filter_on_total_reward"));
  EXPECT_THAT(Refusals(Of(All("accuracy + brier"), total)), Not(Contains("filter_drops_calibration"))) << "what never fires drops nothing";
  EXPECT_THAT(Warnings(Of(All("accuracy + 0.5*format"), total)), Not(Contains("filter_on_total_reward")));
}

TEST_F(Lints, CertaintyIsNoTruth) {
  EXPECT_THAT(Warnings(Of(All("self_certainty"))), Contains("certainty_is_no_truth"));
  EXPECT_TRUE(Refusals(Of(All("self_certainty"))).empty());
  EXPECT_THAT(Warnings(Of(All("accuracy"))), Not(Contains("certainty_is_no_truth")));
  EXPECT_THAT(Warnings(Of(All("self_certainty"), {})), Contains("filter_reads_labels"));
  EXPECT_THAT(Warnings(Of(All("self_certainty"))), Not(Contains("filter_reads_labels")));
  const std::vector<std::string> slot = {"format.confidence=slot", "format.slot_high=high", "format.slot_low=low"};
  for (const char* own : {"answer_span", "mean_log_prob"})
    EXPECT_THAT(Refusals(Of(kSlot + "channel = \"" + own + "\"\n", slot)), Contains("certainty_feeds_calibration")) << own;
  EXPECT_TRUE(Refusals(Of(kSlot, slot)).empty());
}

TEST_F(Lints, AStatedConfidenceAsARewardMustBeProper) {
  for (const char* bad : {"rlsf_verbal", "accuracy + 0.1*confidence", "accuracy*confidence"})
    EXPECT_THAT(Refusals(Of(All(bad))), Contains("improper_confidence")) << bad;
  // Brier written out: 2 a c - c^2 is best answered with the truth.
  for (const char* fine : {"accuracy + 2*accuracy*confidence - confidence*confidence", "accuracy + brier"})
    EXPECT_TRUE(Refusals(Of(All(fine))).empty()) << fine;
}

TEST_F(Lints, AStoredBaselineMustNotCancelAndNotCountTwice) {
  const std::vector<std::string> stored = {"reward.baseline_field=base", "reward.filter=none"};
  EXPECT_TRUE(Refusals(Of(All("accuracy", "advantage = \"contrastive_baseline\"\n"), stored)).empty());
  EXPECT_TRUE(Refusals(Of(All("accuracy - 0.5*baseline", "advantage = \"none\"\n"), stored)).empty());
  for (const char* advantage : {"group_mean", "leave_one_out", "batch_std", "group_std"})
    for (const char* channel : {"contrast", "accuracy - 0.5*baseline"})
      EXPECT_THAT(Refusals(Of(All(channel, std::string("advantage = \"") + advantage + "\"\n"), stored)), Contains("contrast_cancels"))
          << channel << " " << advantage;
  EXPECT_TRUE(Refusals(Of(All("accuracy*baseline"), stored)).empty()) << "a factor per prompt does not cancel";
  EXPECT_THAT(Refusals(Of(All("contrast", "advantage = \"contrastive_baseline\"\n"), stored)), Contains("baseline_subtracted_twice"));
}

TEST_F(Lints, AGroupOfOneHasNoMeanAndNoVariance) {
  const std::vector<std::string> one = {"reward.baseline_field=base", "trainer.group_size=1", "reward.filter=none"};
  EXPECT_TRUE(Refusals(Of(All("accuracy", "advantage = \"contrastive_baseline\"\n"), one)).empty());
  EXPECT_THAT(Refusals(Of(All("accuracy"), {"trainer.group_size=1", "reward.filter=none"})), Contains("one_trace_has_no_group"));
  EXPECT_THAT(
      Refusals(Of(All("accuracy", "advantage = \"contrastive_baseline\"\n"), {"reward.baseline_field=base", "trainer.group_size=1"})),
      Contains("filter_drops_every_group"));
}

TEST_F(Lints, PromptsChosenByWhatTheyGave) {
  const std::vector<std::string> slot = {"format.confidence=slot", "format.slot_high=high", "format.slot_low=low",
                                         "curriculum.retire_at=0.9"};
  const std::string decoupled = All("accuracy", kOnAnswer) + kSlot;
  EXPECT_TRUE(Refusals(Of(decoupled, slot)).empty());
  EXPECT_THAT(Warnings(Of(decoupled, slot)), Not(Contains("no_easy_targets")));
  std::vector<std::string> no_slice = slot;
  no_slice.push_back("curriculum.retired_share=0");
  EXPECT_THAT(Warnings(Of(decoupled, no_slice)), Contains("no_easy_targets"));
  const std::vector<std::string> stated = {"reward.filter=none", "curriculum.retire_at=0.9", "curriculum.retired_share=0"};
  EXPECT_THAT(Refusals(Of(All("accuracy + brier"), stated)), Contains("retirement_drops_calibration"));
  EXPECT_TRUE(Refusals(Of(All("accuracy"), stated)).empty());
  EXPECT_THAT(Warnings(Of(All("accuracy + brier"), {"reward.filter=none", "curriculum.skip=greso"})), Contains("skips_not_weighted"));
  EXPECT_THAT(Warnings(Of(All("accuracy"), {"reward.filter=none", "curriculum.skip=greso"})), Not(Contains("skips_not_weighted")));
}

TEST_F(Lints, CurriculaThatNothingReadsAreRefused) {
  for (const std::vector<std::string>& bad : std::vector<std::vector<std::string>>{
           {"curriculum.retired_share=0.3"}, {"reward.filter=none", "curriculum.fill_batches=4"}, {"curriculum.retire_at=0.9"}}) {
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/bad.toml", kHead + All("accuracy")));
    const auto recipe = LoadRecipe({folder_ + "/bad.toml"}, bad);  // the last: a slice for a slot that is not there
    ASSERT_FALSE(recipe) << bad.back();
    EXPECT_THAT(recipe.error().Message(), testing::HasSubstr("curriculum.")) << bad.back();
  }
}

TEST_F(Lints, AJudgeWhoseNoiseIsNotMeasured) {
  const std::string judge = "[[verifier]]\nname = \"judge\"\nurl = \"http://127.0.0.1:9/\"\nallow_hosts = [\"127.0.0.1\"]\n";
  EXPECT_THAT(Warnings(Of(judge + All("accuracy"))), Contains("judge_noise"));
  EXPECT_THAT(Warnings(Of(judge + All("denoised"), {"reward.label_noise=0.1"})), Not(Contains("judge_noise")));
}

TEST_F(Lints, AJudgeOfAnswersIsTakenForTheTruthOnlyKnowingly) {
  const std::string judge = std::string("[[judge]]\nname = \"grade\"\nprompt = \"") + CANDOR_SOURCE_DIR +
                            "/recipes/judges/grade.toml\"\nurl = \"http://127.0.0.1:9/v1\"\nallow_hosts = [\"127.0.0.1\"]\n";
  const std::string labels = "reward.verifier=grade", none = "reward.filter=none", rate = "reward.label_false_positive=0.1";
  EXPECT_THAT(Warnings(Of(judge + All("accuracy"), {none, labels})), Contains("judge_noise"));
  EXPECT_THAT(Warnings(Of(judge + All("accuracy + grade"), {none})), Not(Contains("judge_noise")))
      << "its opinion is a reward, not the label";
  EXPECT_THAT(Warnings(Of(judge + All("denoised + denoised_brier"), {none, labels, rate})), Not(Contains("judge_noise")));
  EXPECT_THAT(Warnings(Of(judge + All("denoised + brier"), {none, labels, rate})), Contains("judge_noise"));
  const std::vector<std::string> slot = {"format.confidence=slot", "format.slot_high= high", "format.slot_low= low"};
  EXPECT_THAT(Warnings(Of(judge + "[[objective]]\nchannel = \"grade\"\nsegment = \"slot\"\nloss = \"squared_error\"\n", slot)),
              Contains("judge_noise"));
  EXPECT_THAT(Warnings(Of(judge + kSlot, slot)), Not(Contains("judge_noise")));
}

TEST_F(Lints, WhatIsOneNumberPerPromptCancelsUnderAMean) {
  const std::vector<std::string> thinks = {"format.tags=[\"think\",\"answer\",\"confidence\"]", "reward.filter=none"};
  EXPECT_THAT(Refusals(Of(All("dro_over_base"), thinks)), Contains("contrast_cancels"));
  EXPECT_THAT(Refusals(Of(All("dro_propagated"), thinks)), Not(Contains("contrast_cancels")));
}

TEST_F(Lints, ChannelsThatNothingFillsSayWhatWould) {
  for (auto [channel, need] : {std::pair{"abstained", "reward.abstain"},
                               {"rubric", "criterion"},
                               {"contrast", "baseline_field"},
                               {"baseline", "baseline_field"},
                               {"rlpr", "think"}}) {
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/bad.toml", kHead + All(channel)));
    const auto recipe = LoadRecipe({folder_ + "/bad.toml"}, {});
    ASSERT_FALSE(recipe) << channel;
    EXPECT_THAT(recipe.error().fix, testing::HasSubstr(need));
  }
}

}  // namespace
}  // namespace candor::cli
