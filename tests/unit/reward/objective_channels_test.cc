// Every channel beyond the basic four, from a recipe's options to the scored group, against worked numbers and naive twins.
#include <cmath>

#include "core/channel_expression.h"
#include "reward/channels.h"
#include "reward/filter.h"
#include "reward/group_channels.h"
#include "reward/scorer.h"
#include "tests/unit/reward/testing.h"

namespace candor {
namespace {

using testing::MakeTrace;
using testing::Verbal;

TagFormat VerbalFormat() {
  std::vector<std::string> tags{"answer", "confidence"};
  return *TagFormat::From(tags, "verbal");
}

struct Answered {
  std::string answer, confidence;
  Verdict verdict;
};
Answered Right(const std::string& c = "0.5") { return {"France", c, BinaryVerdict(true)}; }
Answered Wrong(const std::string& c = "0.5") { return {"Spain", c, BinaryVerdict(false)}; }
Answered Declined() { return {"I don't know.", "0", BinaryVerdict(false)}; }

ScoredGroup Score(const RewardOptions& options, const std::vector<std::string>& channels, const std::vector<Answered>& answers,
                  std::optional<double> baseline = std::nullopt) {
  ScoreRules rules = *ScoreRules::From(VerbalFormat(), options, channels);
  TraceGroup group;
  std::vector<ReadCompletion> read;
  std::vector<Verdict> verdicts;
  for (const Answered& one : answers) {
    group.traces_G.push_back(MakeTrace(static_cast<int>(read.size()), Verbal(one.answer, one.confidence)));
    read.push_back(ReadTrace(rules, group.traces_G.back()));
    verdicts.push_back(one.verdict);
  }
  return ScoreGroup(rules, std::move(group), read, verdicts, {.baseline = baseline});
}
double Of(const ScoredGroup& group, size_t trace, const std::string& expression) {
  return ChannelExpression::Parse(expression)->Evaluate(group.traces_G[trace].channels).value_or(NAN);
}

// The worked case of DCPO: four of eight right, one states nothing.
TEST(Hybrid, TheTargetIsPartlyTheLabelAndPartlyTheGroupsMean) {
  const std::vector<Answered> answers = {Right("0.9"), Right("0.6"), Wrong("0.9"), Wrong("0.2"),
                                         Wrong("0.4"), Wrong("0.1"), Wrong("90%"), Right("0.8")};
  const ScoredGroup group = Score({}, {"hybrid_brier", "hybrid_gap"}, answers);
  const double expected[] = {-.022578125, -.003828125, -.253828125, -.000078125, -.022578125, -.003828125, -.705078125, -.006328125};
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_NEAR(Of(group, i, "dcpo_code"), expected[i], 1e-9) << i;
    EXPECT_NEAR(Of(group, i, "dcpo_paper"), -std::sqrt(-2 * expected[i]), 1e-9) << i;
  }
  RewardOptions own;
  own.hybrid_group_share = 0;
  const ScoredGroup alone = Score(own, {"hybrid_brier"}, answers);
  EXPECT_NEAR(Of(alone, 0, "hybrid_brier + 1 - brier"), 0, 1e-12) << "without the group it is the Brier score";
  own.hybrid_group_share = 1;
  EXPECT_NEAR(Of(Score(own, {"hybrid_brier"}, answers), 0, "hybrid_brier"), -(.9 - .375) * (.9 - .375), 1e-12) << "of the group alone";
  // An answer that nobody could grade has no target, and no part in the others'.
  std::vector<Answered> more = answers;
  more.push_back({"France", "0.7", {Label::kUnknown, 0.0, {}, "timed out"}});
  const ScoredGroup graded = Score({}, {"hybrid_brier"}, more);
  EXPECT_TRUE(std::isnan(Of(graded, 8, "hybrid_brier")));
  EXPECT_NEAR(Of(graded, 0, "dcpo_code"), expected[0], 1e-9);
  EXPECT_FALSE(Score({}, {"brier"}, answers).traces_G[0].channels.contains("hybrid_brier"));
}

// What a report q earns on average where answers are right with probability p, each on its own: least squares end at p, distances do not.
TEST(Hybrid, TheSquareIsProperAndTheDistanceIsNot) {
  const auto best = [](double p, auto&& paid) {
    double most = -1e9, at = 0;
    for (int i = 0; i <= 100; ++i) {
      const double q = i / 100., right = .5 + .5 * p, wrong = .5 * p, earned = p * paid(q - right) + (1 - p) * paid(q - wrong);
      if (earned > most + 1e-12) most = earned, at = q;
    }
    return at;
  };
  for (int k = 1; k < 10; ++k) EXPECT_NEAR(best(k / 10., [](double off) { return -off * off; }), k / 10., 1e-9) << k;
  EXPECT_NEAR(best(.3, [](double off) { return -std::abs(off); }), .15, 1e-9);
}

TEST(ScoringRules, AgreeWithTheirDefinitionsAndABrokenFormatGetsTheLeast) {
  for (double c : {0.0, 0.1, 0.5, 0.9, 1.0})
    for (bool right : {true, false}) {
      const std::string text = std::to_string(c);
      ScoredGroup group = Score({}, {"spherical", "log"}, {right ? Right(text) : Wrong(text), Right("90%")});
      const double happened = right ? c : 1 - c, clipped = std::min(std::max(happened, 0.001), 0.999);
      EXPECT_NEAR(Of(group, 0, "spherical"), happened / std::sqrt(c * c + (1 - c) * (1 - c)), 1e-9);
      EXPECT_NEAR(Of(group, 0, "log"), std::log(clipped), 1e-9);
      EXPECT_EQ(Of(group, 1, "spherical"), 0.0);
      EXPECT_NEAR(Of(group, 1, "log"), -6.907755, 1e-6);
      EXPECT_LE(Of(group, 1, "log"), Of(group, 0, "log"));
    }
  EXPECT_FALSE(Score({}, {}, {Right()}).traces_G[0].channels.contains("spherical")) << "only what the recipe reads is filled";
}

TEST(ScoringRules, SaySelfAndRewardingDoubt) {
  const std::vector<std::string> channels{"brier", "log"};
  ScoredGroup group = Score(
      {}, channels, {Right("0.9"), Wrong("0.9"), Wrong("0"), Right("1"), Right("0.5"), Right("0"), Wrong("0.5"), Wrong("1"), Right("nan")});
  const std::pair<size_t, double> sayself[] = {{0, .98}, {1, -.62}, {2, 1.0}, {8, -1.0}};
  for (auto [i, expected] : sayself) EXPECT_NEAR(Of(group, i, "sayself"), expected, 1e-9);
  const std::pair<size_t, double> doubt[] = {{3, 12.5}, {4, 10.4954}, {5, -7.5029}, {2, 10.0}, {6, 7.9954}, {7, -10.003}, {8, -30.0}};
  for (auto [i, expected] : doubt) EXPECT_NEAR(Of(group, i, "rewarding_doubt"), expected, 2e-3);
}

TEST(SoftLabels, AreTheExpectedScoreOfSeveralPeople) {
  // Four people, three say correct: the mean of their four scores.
  Answered split{"France", "0.6", {Label::kCorrect, 0.75, {}, ""}};
  ScoredGroup group = Score({}, {"soft_brier", "soft_spherical", "soft_log"}, {split});
  EXPECT_NEAR(Of(group, 0, "soft"), 0.75, 1e-12);
  EXPECT_NEAR(Of(group, 0, "soft_brier"), (3 * (1 - .16) + (1 - .36)) / 4, 1e-9);
  EXPECT_NEAR(Of(group, 0, "soft_spherical"), (3 * .6 + .4) / 4 / std::hypot(.6, .4), 1e-9);
  EXPECT_NEAR(Of(group, 0, "soft_log"), (3 * std::log(.6) + std::log(.4)) / 4, 1e-9);
}

TEST(FormatGating, AdditiveStillPaysACorrectAnswerWhoseFormatBroke) {
  ScoredGroup group = Score({}, {"ungated_accuracy"}, {Right("0.9"), Right("90%"), Wrong("90%")});
  const std::string gated = "0.5*format + accuracy", additive = "0.5*format + ungated_accuracy";
  EXPECT_EQ(Of(group, 0, gated), 1.5);
  EXPECT_EQ(Of(group, 0, additive), 1.5);
  EXPECT_EQ(Of(group, 1, gated), 0.0);
  EXPECT_EQ(Of(group, 1, additive), 1.0);
  EXPECT_EQ(Of(group, 2, additive), 0.0);
  EXPECT_EQ(group.traces_G[1].label, Label::kWrong) << "the label stays gated";
}

TEST(Abstention, TernaryAndThresholdRewards) {
  RewardOptions options;
  options.abstain = {"I don't know"};
  for (auto [t, penalty] : {std::pair{.5, 1.0}, {.75, 3.0}, {.9, 9.0}}) {
    options.answer_threshold = t;
    ScoredGroup group = Score(options, {"abstained", "thresholded", "accuracy"}, {Right(), Declined(), Wrong(), Right("90%")});
    EXPECT_EQ(Of(group, 0, "truthrl"), 1.0);
    EXPECT_EQ(Of(group, 1, "truthrl"), 0.0);
    EXPECT_EQ(Of(group, 2, "truthrl"), -1.0);
    EXPECT_EQ(Of(group, 0, "thresholded"), 1.0);
    EXPECT_EQ(Of(group, 1, "thresholded"), 0.0);
    EXPECT_NEAR(Of(group, 2, "thresholded"), -penalty, 1e-9);
    EXPECT_NEAR(Of(group, 3, "thresholded"), -penalty, 1e-9);
    EXPECT_NEAR(t * 1 + (1 - t) * Of(group, 2, "thresholded"), 0.0, 1e-9) << "answering breaks even at P(correct) = t";
  }
}

TEST(Abstention, TiarAddsItsBonusAfterTheGroupsNormaliser) {
  RewardOptions options;
  options.abstain = {"I don't know"};
  ScoredGroup group =
      Score(options, {"abstained", "accuracy", "tiar"}, {Right(), Wrong(), Wrong(), Wrong(), Declined(), Declined(), Wrong(), Wrong()});
  double sum = 0, squares = 0;
  for (size_t i = 0; i < 8; ++i) sum += Of(group, i, "truthrl"), squares += std::pow(Of(group, i, "truthrl"), 2);
  const double mean = sum / 8, std = std::sqrt((squares - 8 * mean * mean) / 7);
  const double before = (Of(group, 4, "truthrl") - mean) / std, after = before + Of(group, 4, "tiar");
  EXPECT_NEAR(before, .661437, 2e-6);
  EXPECT_NEAR(after, 1.328104, 2e-6);
  EXPECT_EQ(Of(group, 0, "tiar"), 0.0);
  EXPECT_EQ(Of(group, 1, "tiar"), 0.0);
  EXPECT_TRUE(std::isnan(Of(Score(options, {"tiar"}, {Declined(), Declined()}), 0, "tiar"))) << "nobody answered: no bonus is known";
}

TEST(Abstention, IsAnOutcomeForTheFilter) {
  RewardOptions options;
  EXPECT_EQ(Score(options, {}, {Wrong(), Declined()}).drop, DropReason::kNoVariance);
  options.abstain = {"I don't know"};
  EXPECT_EQ(Score(options, {"abstained"}, {Wrong(), Declined()}).drop, DropReason::kNone);
  EXPECT_EQ(Score(options, {"abstained"}, {Declined(), Declined()}).drop, DropReason::kNoVariance);
}

TEST(Majority, VotesOnceAndTiesAndSmallPluralitiesAreNoLabel) {
  auto say = [](const std::string& answer) { return Answered{answer, "0.5", BinaryVerdict(answer == "A1")}; };
  ScoredGroup group = Score({}, {"majority"}, {say("B1"), say("b1."), say("B1"), say("A1"), Right("90%")});
  for (size_t i = 0; i < 5; ++i) EXPECT_EQ(Of(group, i, "majority"), i < 3 ? 1.0 : 0.0) << i;
  EXPECT_EQ(Of(group, 0, "majority_true"), 0.0) << "the majority is wrong here, and that is seen";
  EXPECT_TRUE(std::isnan(Of(Score({}, {"majority"}, {say("A1"), say("B1")}), 0, "majority")));
  EXPECT_TRUE(std::isnan(Of(Score({}, {"majority"}, {say("A1"), say("A1"), say("B1"), say("C1"), say("D1")}), 0, "majority")));
  RewardOptions agreement;
  agreement.filter = "agreement";
  EXPECT_EQ(Score(agreement, {"majority"}, {say("A1"), say("A1"), say("B1")}).drop, DropReason::kNone);
  EXPECT_EQ(Score(agreement, {"majority"}, {say("A1"), say("A1")}).drop, DropReason::kNoVariance);
  EXPECT_EQ(Score(agreement, {"majority"}, {say("A1"), say("B1")}).drop, DropReason::kNoVariance);
}

TEST(Rubric, IsAWeightedMeanThatAVetoZeroesAndAMissingCriterionMakesUnknown) {
  RewardOptions options;
  options.criteria = {{"clear", 1.0, -1e9}, {"safe", 3.0, 0.5}};
  auto judged = [](std::map<std::string, double> rewards) {
    return Answered{"France", "0.5", {Label::kCorrect, 1.0, std::move(rewards), ""}};
  };
  ScoredGroup group =
      Score(options, {"rubric"}, {judged({{"clear", .2}, {"safe", .8}}), judged({{"clear", 1}, {"safe", .4}}), judged({{"clear", 1}})});
  EXPECT_NEAR(Of(group, 0, "rubric"), (.2 + 2.4) / 4, 1e-12);
  EXPECT_EQ(Of(group, 1, "rubric"), 0.0);
  EXPECT_TRUE(std::isnan(Of(group, 2, "rubric")));
  options.criteria = {{"contrast", 1.0, -1e9}, {"baseline", 1.0, -1e9}};
  EXPECT_NEAR(Of(Score(options, {"rubric"}, {Right(), Wrong()}, .4), 0, "rubric"), (.6 + .4) / 2, 1e-12) << "any other channel";
}

TEST(Contrast, SubtractsTheRowsStoredScores) {
  EXPECT_NEAR(*ReadBaseline(R"({"base":[0.5,0.6,0.1]})", "base"), .4, 1e-12);
  EXPECT_NEAR(.8 - *ReadBaseline(R"({"base":[0.5,0.6,0.1]})", "base"), .4, 1e-12);
  for (const char* row : {"{}", R"({"base":[]})", R"({"base":["x"]})", "not json"}) EXPECT_FALSE(ReadBaseline(row, "base")) << row;
  ScoredGroup group = Score({}, {"contrast"}, {Right(), Wrong()}, .4);
  EXPECT_NEAR(Of(group, 0, "contrast"), .6, 1e-12);
  EXPECT_NEAR(Of(group, 1, "contrast"), -.4, 1e-12);
  EXPECT_TRUE(std::isnan(Of(Score({}, {"contrast"}, {Right()}), 0, "contrast")));
}

TEST(LabelNoise, DenoisedChannelsHaveTheTrueLabelsMean) {
  RewardOptions options;
  options.label_noise = 0.2;
  const std::vector<std::string> channels{"denoised", "denoised_brier", "brier"};
  for (double p : {0.0, 0.3, 0.9}) {  // the true probability; the verifier flips a fifth
    ScoredGroup group = Score(options, channels, {Right("0.7"), Wrong("0.7")});
    const double seen_right = p * .8 + (1 - p) * .2;
    auto mean = [&](const std::string& channel, double q) { return q * Of(group, 0, channel) + (1 - q) * Of(group, 1, channel); };
    EXPECT_NEAR(mean("denoised", seen_right), p, 1e-9);
    EXPECT_NEAR(mean("denoised_brier", seen_right), mean("brier", p), 1e-9);
    EXPECT_GT(std::abs(mean("brier", seen_right) - mean("brier", p)), 0.01) << "the control: without the correction they differ";
  }
}

TEST(Filters, TheTotalRewardVariesWhereAConfidenceDoes) {
  RewardOptions options;
  options.filter = "reward";
  const auto drop = [&](const std::vector<std::string>& values, const std::vector<Answered>& answers) {
    ScoreRules rules = *ScoreRules::From(VerbalFormat(), options, {}, values);
    ScoredGroup group = Score(options, {}, answers);
    return FilterGroup(rules.filter, group.traces_G);
  };
  const std::vector<Answered> same = {Right("0.9"), Right("0.8"), Right("0.9")}, mixed = {Right("0.9"), Wrong("0.9")};
  EXPECT_EQ(drop({"accuracy + 0.5*format"}, same), DropReason::kNoVariance);
  EXPECT_EQ(drop({"accuracy + brier"}, same), DropReason::kNone) << "all right, and kept: the filter never fires";
  EXPECT_EQ(drop({"accuracy", "brier"}, same), DropReason::kNone) << "one of them varies";
  EXPECT_EQ(drop({"accuracy"}, mixed), DropReason::kNone);
  EXPECT_EQ(drop({"0.1*accuracy + 0.2*accuracy", "format"}, same), DropReason::kNoVariance);
  const Answered unknown{"France", "0.5", UnknownVerdict("down")};
  EXPECT_EQ(drop({"accuracy"}, {unknown, unknown}), DropReason::kAllUnknown);
  EXPECT_EQ(drop({"confidence"}, {unknown, unknown}), DropReason::kAllUnknown);
  ScoredGroup greedy = Score(options, {}, same);
  greedy.traces_G[1].trace.greedy = true, greedy.traces_G[1].channels["accuracy"] = 0.0;
  EXPECT_EQ(FilterGroup(ScoreRules::From(VerbalFormat(), options, {}, std::vector<std::string>{"accuracy"})->filter, greedy.traces_G),
            DropReason::kNoVariance)
      << "greedy traces are not compared";
  const std::vector<std::string> bad = {"accuracy +"};
  EXPECT_FALSE(ScoreRules::From(VerbalFormat(), options, {}, bad));
}

TEST(Filters, BandAndVariance) {
  EXPECT_NEAR(VarianceShare(4, 8), 1.0, 1e-12);
  EXPECT_NEAR(VarianceShare(1, 8), .4375, 1e-12);
  auto group = [](int k) {
    std::vector<Answered> answers(static_cast<size_t>(k), Right());
    answers.resize(8, Wrong());
    return answers;
  };
  RewardOptions band, vcrl;
  band.filter = "mid_band", vcrl.filter = "vcrl";
  const DropReason same = DropReason::kNoVariance, none = DropReason::kNone;
  for (int k = 0; k <= 8; ++k) {
    const bool flat = k == 0 || k == 8, edge = k == 1 || k == 7;
    EXPECT_EQ(Score(band, {}, group(k)).drop, flat ? same : edge ? DropReason::kOutsideBand : none) << k;
    EXPECT_EQ(Score(vcrl, {}, group(k)).drop, flat ? same : edge ? DropReason::kLowVariance : none) << k;
  }
  for (DropReason reason : {same, DropReason::kOutsideBand, DropReason::kLowVariance}) EXPECT_TRUE(IsFiltered(reason));
  for (DropReason reason : {none, DropReason::kAllUnknown, DropReason::kEvaluation}) EXPECT_FALSE(IsFiltered(reason));
  band.filter_low = .9, band.filter_high = .1;
  EXPECT_FALSE(ScoreRules::From(VerbalFormat(), band));
}

}  // namespace
}  // namespace candor
