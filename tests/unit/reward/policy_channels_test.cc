// The policy's own view of its answer as a reward: self-certainty, the answer's span, and the reference answer behind each reasoning,
// against the worked numbers of RLPR and DRO.
#include "reward/policy_channels.h"

#include <cmath>
#include <limits>

#include "core/channel_expression.h"
#include "reward/scorer.h"
#include "tests/unit/reward/testing.h"

namespace candor {
namespace {

using testing::MakeTrace;
using testing::Verbal;

TagFormat AnswerThenConfidence() {
  const std::vector<std::string> tags{"answer", "confidence"};
  return *TagFormat::From(tags, "verbal");
}

struct Written {
  std::vector<float> reference_R;
  std::string confidence = "0.5";
  Label label = Label::kCorrect;
  std::map<std::string, double> signals = {};
  bool greedy = false;
  std::vector<int32_t> ranks_R = {};
};

ScoredGroup ScoreWritten(const std::vector<std::string>& channels, const std::vector<Written>& traces,
                         const std::vector<float>& base_R = {}, const RewardOptions& options = {},
                         const std::vector<std::string>& values = {}) {
  const ScoreRules rules = *ScoreRules::From(AnswerThenConfidence(), options, channels, values);
  TraceGroup group;
  group.reference_base_R = base_R;
  std::vector<ReadCompletion> read;
  std::vector<Verdict> verdicts;
  for (const Written& one : traces) {
    Trace trace = MakeTrace(static_cast<int>(read.size()), Verbal("France", one.confidence));
    trace.reference_log_probs_R = one.reference_R, trace.signals = one.signals, trace.greedy = one.greedy;
    trace.reference_ranks_R = one.ranks_R;
    group.traces_G.push_back(trace);
    read.push_back(ReadTrace(rules, group.traces_G.back()));
    verdicts.push_back({one.label, one.label == Label::kCorrect ? 1.0 : 0.0, {}, ""});
  }
  return ScoreGroup(rules, std::move(group), read, verdicts);
}
double ValueOf(const ScoredGroup& group, size_t trace, const std::string& expression) {
  return ChannelExpression::Parse(expression)->Evaluate(group.traces_G[trace].channels).value_or(NAN);
}
std::vector<float> Logs(const std::vector<double>& probabilities) {
  std::vector<float> logs;
  for (double p : probabilities) logs.push_back(static_cast<float>(std::log(p)));
  return logs;
}

TEST(Rlpr, IsTheMeanProbabilityOfTheReferenceOverThatWithoutReasoning) {
  const std::vector<float> base = Logs({.6, .4, .9});
  const ScoredGroup group = ScoreWritten({"rlpr", "reference_prob", "format"},
                                         {{Logs({.9, .5, .95})}, {Logs({.1, .1, .1})}, {Logs({.9, .9, .9}), "90%"}, {{}}}, base);
  EXPECT_NEAR(ValueOf(group, 0, "rlpr"), .15, 1e-6);
  EXPECT_NEAR(ValueOf(group, 0, "rlpr_paper"), .235, 1e-6);
  EXPECT_NEAR(ValueOf(group, 0, "reference_prob"), 2.35 / 3, 1e-6) << "the mean, not the product .4275";
  EXPECT_EQ(ValueOf(group, 1, "rlpr"), 0.0) << "reasoning that hurts is not punished below 0";
  EXPECT_NEAR(ValueOf(group, 1, "rlpr_paper"), .1, 1e-12);
  EXPECT_EQ(ValueOf(group, 2, "rlpr_paper"), 0.0) << "a broken format earns nothing";
  EXPECT_TRUE(std::isnan(ValueOf(group, 3, "rlpr"))) << "no scores: missing, not 0";
  EXPECT_FALSE(ScoreWritten({"format"}, {{Logs({.9})}}, base).traces_G[0].channels.contains("rlpr"));
}

TEST(Rlpr, TheMovingFilterMeasuresHowFarTheRewardsOfAGroupDeviate) {
  RewardOptions options;
  options.filter = "moving_std";
  const std::vector<float> base = Logs({.1});
  const std::vector<std::string> values{"rlpr_paper"};  // rewards .9 * (.3, .5, .7) + .1: mean .55, deviations -.18, 0, .18
  const std::vector<Written> traces = {{Logs({.4})}, {Logs({.6})}, {Logs({.8})}, {Logs({.9}), "0.5", Label::kCorrect, {}, true}};
  const ScoredGroup group = ScoreWritten({"rlpr", "format"}, traces, base, options, values);
  EXPECT_EQ(group.drop, DropReason::kNone) << "the coordinator judges";
  for (size_t i = 0; i < 3; ++i) EXPECT_NEAR(ValueOf(group, i, "value_std"), .18, 1e-6) << "n - 1; a greedy trace has no part";
  std::vector<Written> unlabelled = traces;
  for (Written& one : unlabelled) one.label = Label::kUnknown;
  EXPECT_NEAR(ValueOf(ScoreWritten({"rlpr", "format"}, unlabelled, base, options, values), 0, "value_std"), .18, 1e-6)
      << "no label is read";
  EXPECT_EQ(ScoreWritten({"rlpr", "format"}, {traces[0], {{}}}, base, options, values).drop, DropReason::kNoVariance) << "one value";
  options.filter = "none";
  EXPECT_FALSE(ScoreWritten({"rlpr", "format"}, traces, base, options, values).traces_G[0].channels.contains("value_std"));
}

const std::vector<Written> kReflections = {{{-.1f, -2.f, -.2f}}, {{-.1f, -.3f, -.2f}}, {{-.12f, -1.f, -.18f}}, {{-.09f, -.5f, -.22f}}};

TEST(Dro, WeighsTheTokensThatTheReasoningDecides) {
  const ScoredGroup group = ScoreWritten({"dro"}, kReflections);
  const double expected[] = {-1.932, -.295, -.969, -.488}, plain[] = {-2.3, -.6, -1.3, -.81};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(ValueOf(group, i, "dro"), expected[i], 1e-3) << i;
    EXPECT_GT(std::abs(ValueOf(group, i, "dro") - plain[i]), .2) << "not the sum over tokens";
  }
  std::vector<double> spread = ReferenceSpread(group.traces_G);
  const double sum = spread[0] + spread[1] + spread[2], weights[] = {.016, .963, .021};
  for (size_t j = 0; j < 3; ++j) EXPECT_NEAR(spread[j] / sum, weights[j], 1e-3) << j;
}

// Ranks of ten tokens behind three reasonings: the worst two of them have a mean rank of 60, 12 and 7.
const std::vector<Written> kRanked = {{{-9.f}, "0.5", Label::kWrong, {}, false, {1, 1, 20, 2, 100, 1, 1, 3, 1, 1}},
                                      {{-3.f}, "0.5", Label::kWrong, {}, false, {1, 1, 20, 2, 4, 1, 1, 3, 1, 1}},
                                      {{-1.f}, "0.5", Label::kWrong, {}, false, {1, 1, 10, 2, 4, 1, 1, 3, 1, 1}}};

TEST(Dro, TheFilterDropsWhatNoReasoningBringsWithinReach) {
  RewardOptions options;
  options.filter = "reference_spread", options.filter_worst_share = .2;
  const auto drop = [&](double max_rank, const std::vector<Written>& traces) {
    options.filter_max_rank = max_rank;
    return ScoreWritten({"dro"}, traces, {}, options).drop;
  };
  EXPECT_EQ(drop(7, kRanked), DropReason::kNone) << "one reasoning suffices";
  EXPECT_EQ(drop(6.9, kRanked), DropReason::kTooHard) << "although the answer's likelihood varies";
  EXPECT_EQ(drop(0, kRanked), DropReason::kNone) << "off";
  EXPECT_TRUE(IsFiltered(DropReason::kTooHard)) << "it still trains its slot";
  std::vector<Written> more = kRanked;
  more.back().greedy = true;
  EXPECT_EQ(drop(8, more), DropReason::kTooHard) << "a greedy trace has no part";
  more.back().greedy = false, more.back().confidence = "90%";
  EXPECT_EQ(drop(8, more), DropReason::kTooHard) << "nor has one that broke the format";
  EXPECT_EQ(drop(8, kReflections), DropReason::kNone) << "unknown ranks are not bad ones";
  const ScoredGroup watched = ScoreWritten({"dro"}, kRanked, {}, options);
  const double expected[] = {60, 12, 7};
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(ValueOf(watched, i, "reference_rank"), expected[i]) << i;
  const double shares[] = {0, .1, .11, .2, 1}, means[] = {10, 10, 7, 7, 2.5};
  for (size_t i = 0; i < 5; ++i) EXPECT_NEAR(*WorstRank(watched.traces_G[2], shares[i]), means[i], 1e-12) << shares[i];
  options.filter_max_rank = 0;
  EXPECT_FALSE(ScoreWritten({"dro"}, kRanked, {}, options).traces_G[0].channels.contains("reference_rank"));
}

TEST(Dro, NeitherGreedyNorBrokenTracesEnterTheStatistic) {
  std::vector<Written> more = kReflections;
  more.push_back({{-9.f, -9.f, -9.f}, "0.5", Label::kCorrect, {}, true});
  more.push_back({{-9.f, -9.f, -9.f}, "90%"});
  more.push_back({{-1.f, -1.f}});
  const ScoredGroup group = ScoreWritten({"dro"}, more);
  EXPECT_NEAR(ValueOf(group, 1, "dro"), -.295, 1e-3);
  EXPECT_NEAR(ValueOf(group, 5, "dro"), -1.932, 1e-3) << "a broken format gets the group's lowest";
  EXPECT_TRUE(std::isnan(ValueOf(group, 6, "dro"))) << "another number of tokens cannot be compared";
  const ScoredGroup alike = ScoreWritten({"dro"}, {{{-1.f, -2.f}}, {{-1.f, -2.f}}});
  EXPECT_NEAR(ValueOf(alike, 0, "dro"), -1.5, 1e-6) << "nothing varies: all tokens count alike";
  EXPECT_TRUE(std::isnan(ValueOf(ScoreWritten({"dro"}, {{{}}, {{}}}), 0, "dro")));
}

TEST(Dro, TheFilterLooksAtTheSameStatisticAndNotAtLabels) {
  RewardOptions options;
  options.filter = "reference_spread";
  options.filter_min_spread = .6;  // the largest spread above is .6576
  EXPECT_EQ(ScoreWritten({"dro"}, kReflections, {}, options).drop, DropReason::kNone) << "although every trace is right";
  options.filter_min_spread = .7;
  EXPECT_EQ(ScoreWritten({"dro"}, kReflections, {}, options).drop, DropReason::kLowVariance);
  options.filter_min_spread = .1;
  EXPECT_EQ(ScoreWritten({"dro"}, {{{-1.f}}, {{-1.f}}}, {}, options).drop, DropReason::kLowVariance);
  EXPECT_EQ(ScoreWritten({"dro"}, {{{}}, {{}}}, {}, options).drop, DropReason::kLowVariance) << "no scores";
  std::vector<Written> unlabelled = kReflections;
  for (Written& one : unlabelled) one.label = Label::kUnknown;
  EXPECT_EQ(ScoreWritten({"dro"}, unlabelled, {}, options).drop, DropReason::kNone);
}

TEST(Dro, DoubtAboutAReflectiveTokenPassesToThoseBehindIt) {
  const ScoredGroup group = ScoreWritten({"dro", "dro_propagated"}, kReflections);  // the second token alone is reflective
  const double expected[] = {-1.94778, -.29828, -.97898, -.49330};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(ValueOf(group, i, "dro_propagated"), expected[i], 1e-4) << i;
    EXPECT_LT(ValueOf(group, i, "dro_propagated"), ValueOf(group, i, "dro")) << "certainty behind a doubtful token counts less";
  }
  RewardOptions all;
  all.dro_reflective = 0.0;
  EXPECT_NEAR(ValueOf(ScoreWritten({"dro_propagated"}, kReflections, {}, all), 0, "dro_propagated"), -2.00579, 1e-4);
  RewardOptions fast;
  fast.dro_gamma = 50.0;
  const ScoredGroup faded = ScoreWritten({"dro", "dro_propagated"}, kReflections, {}, fast);
  EXPECT_NEAR(ValueOf(faded, 0, "dro_propagated"), ValueOf(faded, 0, "dro"), 1e-9) << "doubt that fades at once is none";
  // p = .1 and gamma = .5 leave .4541, .6689 and .9261 of a token one, two and five behind: each alone carries weight here.
  const std::pair<size_t, double> left[] = {{1, .4541}, {2, .6689}, {5, .9261}};
  for (const auto& [distance, share] : left) {
    std::vector<float> doubtful(6, -.1f), sure(6, -.1f);
    doubtful[0] = std::log(.1f), sure[0] = 0.f, doubtful[distance] = -.3f;
    RewardOptions first;
    first.dro_reflective = 1.0;
    const ScoredGroup two = ScoreWritten({"dro", "dro_propagated"}, {{doubtful}, {sure}}, {}, first);
    const double s_first = -std::log(.1) / 2, s_behind = .1, weight = s_behind / (s_first + s_behind);
    EXPECT_NEAR(ValueOf(two, 0, "dro_propagated") - ValueOf(two, 0, "dro"), weight * std::log(share), 1e-4) << distance;
    EXPECT_NEAR(ValueOf(two, 1, "dro_propagated"), ValueOf(two, 1, "dro"), 1e-9) << "a token that was expected passes nothing on";
  }
}

TEST(Dro, OverTheBaseIsOneNumberLessForEveryTrace) {
  const ScoredGroup group = ScoreWritten({"dro", "dro_over_base"}, kReflections, {-.5f, -3.f, -.4f});
  const double expected[] = {.97385, 2.61150, 1.93727, 2.41858};
  for (size_t i = 0; i < 4; ++i) {
    EXPECT_NEAR(ValueOf(group, i, "dro_over_base"), expected[i], 1e-4) << i;
    EXPECT_NEAR(ValueOf(group, i, "dro_over_base") - ValueOf(group, i, "dro"), 2.90623, 1e-4) << "which is why a group's mean removes it";
  }
  EXPECT_TRUE(std::isnan(ValueOf(ScoreWritten({"dro_over_base"}, kReflections), 0, "dro_over_base"))) << "no scores of the base: missing";
}

TEST(Dro, TheLengthTermComparesCharacters) {
  const auto length = [](size_t reference, double beta, const std::string& confidence = "0.5") {
    ScoreRules rules = *ScoreRules::From(AnswerThenConfidence(), {}, std::vector<std::string>{"reference_length"});
    rules.reflection.length_beta = beta;
    TraceGroup group;
    group.traces_G.push_back(MakeTrace(0, Verbal("France", confidence)));  // six characters
    const std::vector<ReadCompletion> read = {ReadTrace(rules, group.traces_G[0])};
    const std::vector<Verdict> verdicts = {{Label::kCorrect, 1.0, {}, ""}};
    return ValueOf(ScoreGroup(rules, std::move(group), read, verdicts, {.reference_characters = reference}), 0, "reference_length");
  };
  EXPECT_NEAR(length(6, 1.0), 1.0, 1e-12);
  EXPECT_NEAR(length(8, 1.0), .75, 1e-12);
  EXPECT_NEAR(length(4, 1.0), .5, 1e-12);
  EXPECT_NEAR(length(8, 0.5), .875, 1e-12);
  EXPECT_EQ(length(2, 1.0), 0.0) << "not below 0";
  EXPECT_EQ(length(6, 1.0, "90%"), 0.0) << "a broken format has the least";
  EXPECT_TRUE(std::isnan(length(0, 1.0))) << "a row without an answer has no length";
  EXPECT_EQ(CountCharacters("Zürich"), 6u);
}

TEST(Certainty, SignalsAreChannelsAndTheAnswersOnesAreGatedByTheFormat) {
  const std::map<std::string, double> signals = {{"self_certainty", .553895}, {"answer_margin", .4}, {"answer_span", .8}};
  const std::vector<std::string> wanted = {"self_certainty", "answer_margin", "answer_span", "lowest_window"};
  const ScoredGroup group = ScoreWritten(wanted, {{{}, "0.5", Label::kWrong, signals}, {{}, "90%", Label::kWrong, signals}});
  EXPECT_NEAR(ValueOf(group, 0, "self_certainty"), .553895, 1e-12);
  EXPECT_NEAR(ValueOf(group, 1, "self_certainty"), .553895, 1e-12);
  EXPECT_EQ(ValueOf(group, 0, "answer_margin"), .4);
  EXPECT_EQ(ValueOf(group, 1, "answer_margin"), 0.0);
  EXPECT_TRUE(std::isnan(ValueOf(group, 0, "lowest_window"))) << "a signal that was not recorded is missing";
  EXPECT_FALSE(ScoreWritten({}, {{{}, "0.5", Label::kWrong, signals}}).traces_G[0].channels.contains("self_certainty"));
}

TEST(Certainty, AGroupWithoutLabelsIsKeptOnlyForWhatNeedsNone) {
  RewardOptions options;
  options.filter = "none";
  const std::vector<Written> unlabelled = {{{}, "0.5", Label::kUnknown, {{"self_certainty", 1.}}},
                                           {{}, "0.5", Label::kUnknown, {{"self_certainty", 2.}}}};
  EXPECT_EQ(ScoreWritten({"self_certainty"}, unlabelled, {}, options).drop, DropReason::kNone);
  EXPECT_EQ(ScoreWritten({"accuracy"}, unlabelled, {}, options).drop, DropReason::kAllUnknown);
}

TEST(Rlsf, TheVerbalReadingPaysTheStatedConfidenceForRightAndTakesItForWrong) {
  const std::vector<std::string> wanted = {"confidence", "accuracy", "format"};
  const ScoredGroup group = ScoreWritten(wanted, {{{}, "0.9"}, {{}, "0.9", Label::kWrong}, {{}, "0", Label::kWrong}, {{}, "90%"}});
  const double expected[] = {.9, -.9, 0., -1.};
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(ValueOf(group, i, "rlsf_verbal"), expected[i], 1e-9) << i;
  // Not proper: at p = .7 a report of 1 earns .4, the honest .7 only .28.
  const double honest = .7 * .7 - .3 * .7, certain = .7 - .3;
  EXPECT_GT(certain, honest);
}

TEST(Reference, OnlyRecipesThatReadItAskForIt) {
  const auto needs = [](const std::vector<std::string>& channels, const std::string& filter) {
    RewardOptions options;
    options.filter = filter;
    options.criteria = {{"rlpr", 1.0, -1e9}};
    return ScoreRules::From(AnswerThenConfidence(), options, channels)->NeedsReference();
  };
  EXPECT_TRUE(needs({"rlpr"}, "none"));
  EXPECT_TRUE(needs({"dro"}, "none"));
  EXPECT_TRUE(needs({"dro_propagated"}, "none"));
  EXPECT_TRUE(needs({"dro_over_base"}, "none"));
  EXPECT_FALSE(needs({"reference_length"}, "none"));
  EXPECT_TRUE(needs({"rubric"}, "none"));
  EXPECT_TRUE(needs({"accuracy"}, "reference_spread"));
  EXPECT_FALSE(needs({"accuracy", "self_certainty"}, "accuracy"));
}

TEST(Reference, ANumberThatIsNotFiniteIsRefusedBeforeAnythingIsComputed) {
  TraceGroup group;
  group.traces_G.push_back(MakeTrace(0, Verbal("France", "0.5")));
  EXPECT_TRUE(CheckTraceGroup(group));
  group.traces_G[0].reference_log_probs_R = {std::numeric_limits<float>::quiet_NaN()};
  const Status refused = CheckTraceGroup(group);
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().what.find("reference"), std::string::npos);
  group.traces_G[0].reference_log_probs_R = {};
  group.reference_base_R = {-.5f, std::numeric_limits<float>::quiet_NaN()};
  ASSERT_FALSE(CheckTraceGroup(group)) << "a probability of 1 else";
}

}  // namespace
}  // namespace candor
