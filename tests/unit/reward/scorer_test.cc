#include "reward/scorer.h"

#include "calibration/sketch.h"
#include "core/channel_expression.h"
#include "reward/channels.h"
#include "reward/filter.h"
#include "tests/unit/reward/testing.h"

namespace candor {
namespace {

using testing::MakeTrace;
using testing::Row;
using testing::Verbal;

TagFormat Format(const std::string& confidence) {
  std::vector<std::string> tags{"answer", "confidence"};
  return *TagFormat::From(tags, confidence);
}
ScoreRules Rules(const std::string& confidence = "verbal") { return *ScoreRules::From(Format(confidence), RewardOptions{}); }

std::map<std::string, double> Channels(bool format_ok, Label label, double confidence) {
  return ComputeChannels(
      {format_ok, label, label == Label::kCorrect ? 1.0 : 0.0, true, format_ok ? Confidence::From(confidence) : std::nullopt});
}

// The table of the RLCR code (reward_fns.py with the weights of configs/Qwen-7B/*/RLCR.yaml) and the paper's R = a - (q - a)^2.
TEST(Channels, RlcrOfThePaperAndOfItsCode) {
  struct Line {
    Label label;
    double q, code;
  };
  const Line table[] = {{Label::kCorrect, 1, 1.5}, {Label::kCorrect, .8, 1.48}, {Label::kCorrect, .5, 1.375},
                        {Label::kCorrect, 0, 1.0}, {Label::kWrong, 0, 1.0},     {Label::kWrong, .2, .98},
                        {Label::kWrong, .5, .875}, {Label::kWrong, .8, .68},    {Label::kWrong, 1, .5}};
  ChannelExpression code = *ChannelExpression::Parse("rlcr_code"), paper = *ChannelExpression::Parse("rlcr_paper"),
                    plain = *ChannelExpression::Parse("accuracy + brier"),
                    spelled = *ChannelExpression::Parse("0.5*format + 0.5*accuracy + 0.5*brier"),
                    rlvr = *ChannelExpression::Parse("rlvr_code");
  for (const Line& line : table) {
    auto channels = Channels(true, line.label, line.q);
    double a = line.label == Label::kCorrect ? 1.0 : 0.0;
    EXPECT_NEAR(*code.Evaluate(channels), line.code, 1e-12);
    EXPECT_NEAR(*spelled.Evaluate(channels), line.code, 1e-12);
    EXPECT_NEAR(*paper.Evaluate(channels), a - (line.q - a) * (line.q - a), 1e-12);
    EXPECT_NEAR(*plain.Evaluate(channels), *paper.Evaluate(channels) + 1.0, 1e-12);  // a constant: the same advantages
    EXPECT_NEAR(*rlvr.Evaluate(channels), 0.5 + 0.5 * a, 1e-12);
  }
  auto broken = Channels(false, Label::kWrong, 0.0);  // F = 0: everything is 0, less than the worst valid completion
  EXPECT_EQ(*code.Evaluate(broken), 0.0);
  EXPECT_EQ(*paper.Evaluate(broken), -1.0);
  EXPECT_EQ(*rlvr.Evaluate(broken), 0.0);
}

TEST(Channels, AnUnknownLabelHasNoAccuracyAndNoBrier) {
  auto channels = Channels(true, Label::kUnknown, 0.9);
  EXPECT_EQ(channels, (std::map<std::string, double>{{"format", 1.0}}));
  EXPECT_FALSE(ChannelExpression::Parse("accuracy + brier")->Evaluate(channels).has_value());
  EXPECT_EQ(*ChannelExpression::Parse("format")->Evaluate(channels), 1.0);
}

TEST(Channels, WithoutAConfidenceThereIsNoBrier) {
  EXPECT_EQ(ComputeChannels({true, Label::kCorrect, 1.0, false, std::nullopt}).count("brier"), 0u);
  EXPECT_EQ(ComputeChannels({false, Label::kWrong, 0.0, false, std::nullopt}).count("brier"), 0u);
}

std::vector<ScoredTrace> Labelled(std::vector<Label> sampled, std::vector<Label> greedy = {}) {
  std::vector<ScoredTrace> traces;
  for (Label label : sampled) traces.emplace_back().label = label;
  for (Label label : greedy) {
    traces.emplace_back().label = label;
    traces.back().trace.greedy = true;
  }
  return traces;
}

TEST(Filter, LooksAtTheAccuracyOfSampledTracesAlone) {
  const Label c = Label::kCorrect, w = Label::kWrong, u = Label::kUnknown;
  EXPECT_EQ(FilterByAccuracy(Labelled({c, w})), DropReason::kNone);
  EXPECT_EQ(FilterByAccuracy(Labelled({c, c, c})), DropReason::kNoVariance);
  EXPECT_EQ(FilterByAccuracy(Labelled({w, w})), DropReason::kNoVariance);
  EXPECT_EQ(FilterByAccuracy(Labelled({c, c}, {w})), DropReason::kNoVariance);  // the greedy trace is no variance
  EXPECT_EQ(FilterByAccuracy(Labelled({c, u})), DropReason::kNoVariance);       // unknown is not wrong
  EXPECT_EQ(FilterByAccuracy(Labelled({u, u})), DropReason::kAllUnknown);
  EXPECT_EQ(FilterByAccuracy(Labelled({u, u}, {c})), DropReason::kNoVariance);  // its slot can be trained
  EXPECT_EQ(FilterByAccuracy(Labelled({c, w, u}, {u})), DropReason::kNone);
}

struct Graded {
  TraceGroup group;
  std::vector<Verdict> verdicts;
};
ScoredGroup Score(const ScoreRules& rules, Graded graded) {
  std::vector<ReadCompletion> read;
  for (const Trace& trace : graded.group.traces_G) read.push_back(ReadTrace(rules, trace));
  return ScoreGroup(rules, std::move(graded.group), read, graded.verdicts);
}

Graded VerbalGroup() {
  Graded graded;
  graded.group.id = MakeGroupId(4, 2);
  graded.group.prompt = {"train", 0};
  graded.group.wave = {4};
  graded.group.prompt_tokens_P = {1, 2, 3, 4};
  graded.group.worker = "rollout-0";
  graded.group.traces_G = {MakeTrace(0, Verbal("France", "0.9"), 2), MakeTrace(1, Verbal("Spain", "0.6")),
                           MakeTrace(2, Verbal("France", "90%")), MakeTrace(3, Verbal("France", "0.5"))};
  graded.group.traces_G[3].greedy = true;
  graded.group.traces_G[0].signals = {{"answer_span", 0.75}, {"self_certainty", 0.5}, {"verbal", 0.123}};
  graded.group.traces_G[1].finish = FinishReason::kLength;
  graded.verdicts = {BinaryVerdict(true), BinaryVerdict(false), BinaryVerdict(true), BinaryVerdict(true)};
  graded.verdicts[2].rewards["mine"] = 0.5;
  return graded;
}

TEST(Scorer, ABrokenFormatIsWrongWhateverTheVerdict) {
  ScoredGroup scored = Score(Rules(), VerbalGroup());
  EXPECT_EQ(scored.traces_G[2].label, Label::kWrong);
  EXPECT_FALSE(scored.traces_G[2].format_ok);
  EXPECT_NE(scored.traces_G[2].format_error.find("percentage"), std::string::npos);
  EXPECT_FALSE(scored.traces_G[2].confidence.has_value());
  EXPECT_EQ(scored.traces_G[2].channels.at("accuracy"), 0.0);
  EXPECT_EQ(scored.traces_G[2].channels.at("mine"), 0.5);  // the user's rewards still count
  EXPECT_EQ(scored.traces_G[0].channels.at("accuracy"), 1.0);
  EXPECT_NEAR(scored.traces_G[0].channels.at("brier"), 0.99, 1e-12);
  EXPECT_EQ(scored.traces_G[0].answer, "France");
  EXPECT_EQ(scored.traces_G[0].trace.signals.at("verbal"), 0.9);  // the parser's, not the engine's
  EXPECT_EQ(scored.drop, DropReason::kNone);
}

TEST(Scorer, TheSlotsConfidenceComesFromItsSignal) {
  Graded graded;
  graded.group.traces_G = {MakeTrace(0, "<answer>France</answer><confidence>high</confidence>"),
                           MakeTrace(1, "<answer>France</answer><confidence>high</confidence>"),
                           MakeTrace(2, "<answer>France</answer><confidence>high</confidence>")};
  graded.group.traces_G[0].signals["slot"] = 0.25;
  graded.group.traces_G[1].signals["slot"] = std::numeric_limits<double>::quiet_NaN();
  graded.verdicts.resize(3, BinaryVerdict(true));
  ScoredGroup scored = Score(Rules("slot"), std::move(graded));
  EXPECT_EQ(scored.traces_G[0].confidence->value(), 0.25);
  EXPECT_NEAR(scored.traces_G[0].channels.at("brier"), 1.0 - 0.5625, 1e-12);
  for (int i : {1, 2}) {
    EXPECT_FALSE(scored.traces_G[static_cast<size_t>(i)].format_ok);
    EXPECT_TRUE(scored.traces_G[static_cast<size_t>(i)].trace.signals.empty());
  }
}

TEST(Scorer, EvaluationGroupsAreMarkedAndTheFilterCanBeOff) {
  Graded graded = VerbalGroup();
  graded.group.id = {uint64_t{1} << 63 | 5};
  EXPECT_EQ(Score(Rules(), std::move(graded)).drop, DropReason::kEvaluation);
  RewardOptions options;
  options.filter = "none";
  Graded same = VerbalGroup();
  same.verdicts.assign(4, BinaryVerdict(false));
  EXPECT_EQ(Score(*ScoreRules::From(Format("verbal"), options), same).drop, DropReason::kNone);
  same.verdicts.assign(4, UnknownVerdict("down"));
  same.group.traces_G[2].text = Verbal("France", "0.9");
  EXPECT_EQ(Score(*ScoreRules::From(Format("verbal"), options), same).drop, DropReason::kAllUnknown);
  options.signal = "slot";
  EXPECT_FALSE(ScoreRules::From(Format("verbal"), options).has_value());
}

TEST(Header, CountsSampledTracesAndSketchesGreedyApart) {
  ScoredGroup scored = Score(Rules(), VerbalGroup());
  scored.traces_G[1].label = Label::kUnknown;
  scored.traces_G[1].channels.erase("accuracy");
  DataRow row = Row({"France"});
  row.slices = {"europe"};
  GroupScored header = MakeHeader(scored, row, {"reward-1", "tcp://x", "abc", 99});
  EXPECT_EQ(header.traces, 3u);
  EXPECT_EQ(header.correct, 1u);
  EXPECT_EQ(header.wrong, 1u);
  EXPECT_EQ(header.unknown, 1u);
  EXPECT_EQ(header.format_ok, 2u);
  EXPECT_EQ(header.completion_tokens, 12u);  // greedy included: this is what a rank computes
  EXPECT_EQ(header.prompt_tokens, 4u);
  EXPECT_EQ(header.oldest_version.value, 2u);
  EXPECT_EQ(header.newest_version.value, 3u);
  EXPECT_EQ(header.slices, std::vector<std::string>{"europe"});
  EXPECT_EQ(header.sums.at("reward/accuracy"), 1.0);
  EXPECT_EQ(header.sums.at("missing/accuracy"), 1.0);
  EXPECT_EQ(header.sums.at("missing/mine"), 2.0);
  EXPECT_EQ(header.sums.count("missing/format"), 0u);
  EXPECT_EQ(header.sums.at("truncated"), 1.0);
  EXPECT_NEAR(header.sums.at("brier"), 0.01, 1e-12);
  ASSERT_EQ(header.sketches.count("verbal/greedy"), 1u);
  EXPECT_EQ(header.sketches.count("self_certainty"), 0u);  // not a probability
  calibration::CalSketch sampled = *calibration::CalSketch::Decode(header.sketches.at("verbal")),
                         greedy = *calibration::CalSketch::Decode(header.sketches.at("verbal/greedy"));
  EXPECT_EQ(sampled.n(), 1);        // the unknown trace is not there,
  EXPECT_EQ(sampled.missing(), 1);  // the one that broke the format is missing, not certain
  EXPECT_EQ(greedy.n(), 1);
  EXPECT_NEAR(greedy.Brier(), 0.25, 1e-9);
}

TEST(Header, AGroupThatBrokeTheFormatIsMissingInTheRecordNotAbsent) {
  ScoredGroup scored = Score(Rules(), VerbalGroup());
  for (ScoredTrace& trace : scored.traces_G) trace.format_ok = false, trace.confidence.reset(), trace.trace.signals.erase("verbal");
  EXPECT_EQ(MakeHeader(scored, Row({"France"}), {}).sketches.count("verbal"), 0u) << "nobody said that one is expected";
  EXPECT_EQ(MakeHeader(scored, Row({"France"}), {}, "none").sketches.count("none"), 0u);
  const GroupScored header = MakeHeader(scored, Row({"France"}), {}, "verbal");
  const auto count = [&](const std::string& signal) {
    const calibration::CalSketch sketch = *calibration::CalSketch::Decode(header.sketches.at(signal));
    return std::pair{sketch.n(), sketch.missing()};
  };
  EXPECT_EQ(count("verbal"), (std::pair<int64_t, int64_t>{0, 3}));
  EXPECT_EQ(count("verbal/greedy"), (std::pair<int64_t, int64_t>{0, 1}));
}

TEST(CheckTraceGroup, RefusesWhatDoesNotHoldTogether) {
  auto good = [] { return VerbalGroup().group; };
  EXPECT_TRUE(CheckTraceGroup(good()).has_value());
  auto expect_bad = [&](auto&& spoil) {
    TraceGroup group = good();
    spoil(group);
    EXPECT_FALSE(CheckTraceGroup(group).has_value());
  };
  expect_bad([](TraceGroup& g) { g.traces_G.clear(); });
  expect_bad([](TraceGroup& g) { g.traces_G[0].log_probs_T.pop_back(); });
  expect_bad([](TraceGroup& g) { g.traces_G[1].version_T.push_back(1); });
  expect_bad([](TraceGroup& g) { g.traces_G[0].log_probs_T[1] = std::numeric_limits<float>::quiet_NaN(); });
  expect_bad([](TraceGroup& g) { g.traces_G[0].spans[1].begin = 1; });
  expect_bad([](TraceGroup& g) { g.traces_G[0].spans[1].end = 1000; });
  expect_bad([](TraceGroup& g) { g.traces_G[0].spans.clear(); });
  expect_bad([](TraceGroup& g) { g.traces_G[0].spans[0] = {Origin::kPolicy, Segment::kAnswer, 0, 0, -5}; });
}

}  // namespace
}  // namespace candor
