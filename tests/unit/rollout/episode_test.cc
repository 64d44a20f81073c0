// Stop texts, spans and signals of the single-turn episode: what the engine would do is played by hand.
#include "rollout/episode.h"

#include <gtest/gtest.h>

#include <cmath>

#include "rollout/signals.h"
#include "tests/unit/rollout/tiny_fixture.h"

namespace candor {
namespace {

TagFormat Format(std::vector<std::string> tags, std::string_view confidence) { return *TagFormat::From(tags, confidence); }

// Feeds `ids` while the episode wants to sample, obeys its forced tokens, and answers a slot with `slot_id`.
struct Played {
  Trace trace;
  size_t used = 0;  // of ids
  bool read_slot = false;
  Status status;
};
Played Play(Episode& episode, const std::vector<int32_t>& ids, int32_t slot_id = -1) {
  Played played;
  TraceReadings readings;
  auto add = [&](int32_t id, Origin origin, float log_prob) {
    played.trace.tokens_T.push_back(id);
    played.trace.log_probs_T.push_back(log_prob);
    readings.margin_T.push_back(0.25f);
    return episode.Append(id, origin);
  };
  for (;;) {
    NextAction action = episode.Next();
    if (action.kind == NextAction::Kind::kFinish) {
      played.trace.finish = action.finish;
      break;
    }
    for (int32_t id : action.ids) EXPECT_TRUE(add(id, Origin::kEnvironment, 0.0f));
    if (action.kind == NextAction::Kind::kReadSlot) {
      played.read_slot = true;
      EXPECT_TRUE(add(slot_id, Origin::kPolicy, 0.0f));
    }
    if (action.kind == NextAction::Kind::kSample) {
      if (played.used == ids.size()) break;
      played.status = add(ids[played.used], Origin::kPolicy, -0.1f * static_cast<float>(played.used + 1));
      if (!played.status) return played;
      ++played.used;
    }
  }
  EXPECT_LE(static_cast<int64_t>(played.trace.tokens_T.size()), episode.max_tokens());
  played.status = episode.Finish(played.trace, readings);
  return played;
}

TEST(StopStrings, FoundAcrossPiecesAndFirstByEnd) {
  const StopStrings stops({"</answer>", "", "END"});
  EXPECT_EQ(stops.stops().size(), 2u);
  EXPECT_FALSE(stops.Find("abc</answer", 3));
  const auto match = stops.Find("abc</answer>x", 11);
  ASSERT_TRUE(match);
  EXPECT_EQ(match->end, 12);
  EXPECT_EQ(stops.Find("END</answer>", 0)->stop, 1u);
  EXPECT_FALSE(stops.Find("END</answer", 3));  // the match before byte 3 was seen
  EXPECT_FALSE(StopStrings().Find("anything", 0));
}

// Every way to cut a text into pieces finds the stop at the same piece as a search over the whole text.
TEST(StopStrings, EveryCutGivesTheSameStop) {
  const std::string text = "xabababcab";
  const StopStrings stops({"ababc"});
  for (unsigned cuts = 0; cuts < (1u << (text.size() - 1)); ++cuts) {
    int64_t seen = 0, found_at = -1;
    for (size_t i = 0; i < text.size() && found_at < 0; ++i) {
      if (!(i + 1 == text.size() || (cuts >> i & 1))) continue;
      const auto now = static_cast<int64_t>(i + 1);
      if (stops.Find(std::string_view(text).substr(0, i + 1), seen)) found_at = now;
      seen = now;
    }
    ASSERT_GE(found_at, 8);  // "xabababc"
    bool cut_at_8 = (cuts >> 7 & 1) != 0;
    EXPECT_EQ(found_at == 8, cut_at_8);
  }
}

TEST(SingleTurn, StopsAtTheAnswerTagSpreadOverTokens) {
  const Tokenizer tokenizer = TinyTokenizer();
  auto format = MakeTurnFormat(tokenizer, Format({"answer"}, "none"), {kEndId}, {}, std::nullopt);
  ASSERT_TRUE(format);
  auto episode = SingleTurn(*format)({.max_new_tokens = 100});
  const std::vector<int32_t> ids = Ids(tokenizer, "<answer>Paris</answer> and more");
  const Played played = Play(*episode, ids);
  ASSERT_TRUE(played.status);
  EXPECT_EQ(played.trace.text, "<answer>Paris</answer>");
  EXPECT_EQ(played.trace.finish, FinishReason::kStop);
  ASSERT_EQ(played.trace.spans.size(), 1u);
  EXPECT_EQ(played.trace.spans[0].segment, Segment::kAnswer);
  EXPECT_EQ(played.trace.spans[0].end, static_cast<int32_t>(played.trace.tokens_T.size()));
}

TEST(SingleTurn, AStopTextMayEndInsideAToken) {
  const Tokenizer tokenizer = TinyTokenizer();
  auto format = MakeTurnFormat(tokenizer, Format({"answer"}, "none"), {}, {}, std::nullopt);
  auto episode = SingleTurn(*format)({.max_new_tokens = 100});
  const std::vector<int32_t> ids = Ids(tokenizer, "<answer>b</answer>xyz");  // ">x" is one token
  const Played played = Play(*episode, ids);
  EXPECT_EQ(played.trace.text, "<answer>b</answer>x");  // the token stays whole: nothing is tokenised again
}

TEST(SingleTurn, EndTokenAndBudget) {
  const Tokenizer tokenizer = TinyTokenizer();
  auto format = MakeTurnFormat(tokenizer, Format({}, "none"), {kEndId}, {"STOP"}, std::nullopt);
  std::vector<int32_t> ids = Ids(tokenizer, "hello");
  ids.push_back(kEndId);
  ids.push_back('z');
  auto episode = SingleTurn(*format)({.max_new_tokens = 100});
  Played played = Play(*episode, ids);
  EXPECT_EQ(played.trace.text, "hello");
  EXPECT_EQ(played.trace.tokens_T.back(), kEndId);
  EXPECT_EQ(played.trace.finish, FinishReason::kStop);
  // Without tags the whole reply is the answer; the end token is not part of it: five tokens at -0.1 .. -0.5.
  EXPECT_NEAR(played.trace.signals["answer_span"], std::exp(-0.3), 1e-6);
  EXPECT_NEAR(played.trace.signals["answer_prob"], std::exp(-1.5), 1e-6);
  episode = SingleTurn(*format)({.max_new_tokens = 3});
  played = Play(*episode, ids);
  EXPECT_EQ(played.trace.text, "hel");
  EXPECT_EQ(played.trace.finish, FinishReason::kLength);
  episode = SingleTurn(*format)({.max_new_tokens = 100});
  played = Play(*episode, Ids(tokenizer, "aSTOPb"));
  EXPECT_EQ(played.trace.text, "aSTOP");
}

TEST(SingleTurn, AnswerSignalsUseOnlyTheTokensBetweenTheTags) {
  const Tokenizer tokenizer = TinyTokenizer();
  auto format = MakeTurnFormat(tokenizer, Format({"answer", "confidence"}, "verbal"), {kEndId}, {}, std::nullopt);
  auto episode = SingleTurn(*format)({.max_new_tokens = 100});
  const std::string text = "<answer> AB </answer><confidence>0.75</confidence>";
  const std::vector<int32_t> ids = Ids(tokenizer, text);
  const Played played = Play(*episode, ids);
  ASSERT_EQ(played.used, ids.size());
  EXPECT_NEAR(played.trace.signals.at("verbal"), 0.75, 1e-12);
  // "<answer>" is a < and 7 more tokens minus the merge "ans": find A and B by hand.
  const auto a = static_cast<double>(std::find(ids.begin(), ids.end(), 'A') - ids.begin()) + 1, b = a + 1;
  EXPECT_NEAR(played.trace.signals.at("answer_span"), std::exp(-0.1 * (a + b) / 2), 1e-5);
  EXPECT_NEAR(played.trace.signals.at("answer_prob"), std::exp(-0.1 * (a + b)), 1e-5);
  EXPECT_NEAR(played.trace.signals.at("answer_margin"), 0.25, 1e-7);
  ASSERT_EQ(played.trace.spans.size(), 2u);
  EXPECT_EQ(played.trace.spans[0].segment, Segment::kAnswer);
  EXPECT_EQ(played.trace.spans[1].segment, Segment::kConfidence);
}

TEST(SingleTurn, AMissingAnswerLeavesItsSignalsOut) {
  const Tokenizer tokenizer = TinyTokenizer();
  auto format = MakeTurnFormat(tokenizer, Format({"answer", "confidence"}, "verbal"), {kEndId}, {}, std::nullopt);
  auto episode = SingleTurn(*format)({.max_new_tokens = 100});
  std::vector<int32_t> ids = Ids(tokenizer, "just text");
  ids.push_back(kEndId);
  const Played played = Play(*episode, ids);
  EXPECT_EQ(played.trace.signals.count("answer_span"), 0u);
  EXPECT_EQ(played.trace.signals.count("verbal"), 0u);
}

TEST(SingleTurn, SlotIsForcedBehindTheAnswer) {
  const Tokenizer tokenizer = TinyTokenizer();
  const SlotTokens slot{258, 259};  // "YE", "NO"
  for (bool confidence_tag : {true, false}) {
    auto format = MakeTurnFormat(
        tokenizer, Format(confidence_tag ? std::vector<std::string>{"answer", "confidence"} : std::vector<std::string>{"answer"}, "slot"),
        {kEndId}, {}, slot);
    ASSERT_TRUE(format) << format.error().Message();
    auto episode = SingleTurn(*format)({.max_new_tokens = 100});
    const std::vector<int32_t> reply = Ids(tokenizer, "<answer>Rome</answer>"), prefix = Ids(tokenizer, std::string(kSlotPrefix));
    const Played played = Play(*episode, reply, slot.low);
    ASSERT_TRUE(played.status);
    EXPECT_TRUE(played.read_slot);
    ASSERT_EQ(played.trace.tokens_T.size(), reply.size() + prefix.size() + 1);
    ASSERT_EQ(played.trace.spans.size(), 3u);
    const auto r = static_cast<int32_t>(reply.size()), p = static_cast<int32_t>(prefix.size());
    const std::vector<Span> want = {{Origin::kPolicy, Segment::kAnswer, 0, 0, r},
                                    {Origin::kEnvironment, Segment::kConfidence, 0, r, r + p},
                                    {Origin::kPolicy, Segment::kSlot, 0, r + p, r + p + 1}};
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(played.trace.spans[i].origin, want[i].origin);
      EXPECT_EQ(played.trace.spans[i].segment, want[i].segment);
      EXPECT_EQ(played.trace.spans[i].begin, want[i].begin);
      EXPECT_EQ(played.trace.spans[i].end, want[i].end);
    }
    EXPECT_EQ(played.trace.text, confidence_tag ? "<answer>Rome</answer>\n<confidence>NO</confidence>" : "<answer>Rome</answer>");
    // What graders see holds under the format's own parser.
    EXPECT_TRUE(ParseTags((*format)->tags, played.trace.text).valid);
  }
}

TEST(SingleTurn, NoSlotWithoutAClosedAnswer) {
  const Tokenizer tokenizer = TinyTokenizer();
  auto format = MakeTurnFormat(tokenizer, Format({"answer", "confidence"}, "slot"), {kEndId}, {"STOP"}, SlotTokens{258, 259});
  for (const std::string text : {"<answer>Rome STOP", "<answer>never ends"}) {
    std::vector<int32_t> ids = Ids(tokenizer, text);
    auto episode = SingleTurn(*format)({.max_new_tokens = static_cast<int64_t>(ids.size())});
    const Played played = Play(*episode, ids, 258);
    EXPECT_FALSE(played.read_slot) << text;
    EXPECT_EQ(played.trace.text, text);
  }
}

TEST(SingleTurn, ATextCutInsideACharacter) {
  const Tokenizer tokenizer = TinyTokenizer();
  auto format = MakeTurnFormat(tokenizer, Format({}, "none"), {kEndId}, {}, std::nullopt);
  auto episode = SingleTurn(*format)({.max_new_tokens = 2});
  const Played played = Play(*episode, {'a', 0xC3});
  ASSERT_TRUE(played.status);
  EXPECT_EQ(played.trace.text, "a\xEF\xBF\xBD");
  ASSERT_FALSE(played.trace.spans.empty());
  EXPECT_EQ(played.trace.spans.back().end, 2);
}

TEST(TurnFormat, SlotAndFormatMustAgree) {
  const Tokenizer tokenizer = TinyTokenizer();
  EXPECT_FALSE(MakeTurnFormat(tokenizer, Format({"answer"}, "slot"), {}, {}, std::nullopt));
  EXPECT_FALSE(MakeTurnFormat(tokenizer, Format({"answer"}, "none"), {}, {}, SlotTokens{1, 2}));
  EXPECT_FALSE(MakeTurnFormat(tokenizer, Format({}, "slot"), {}, {}, SlotTokens{1, 2}));
}

TEST(Signals, SlotConfidenceIsStable) {
  EXPECT_NEAR(SlotConfidence(1.0, 0.0), 1.0 / (1.0 + std::exp(-1.0)), 1e-15);
  EXPECT_EQ(SlotConfidence(2000.0, 0.0), 1.0);
  EXPECT_EQ(SlotConfidence(0.0, 2000.0), 0.0);
  EXPECT_EQ(SlotConfidence(3.0, 3.0), 0.5);
}

TEST(Signals, LowestWindowAgainstDirectSums) {
  const std::vector<float> values = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3};
  for (int64_t window = 1; window <= 12; ++window) {
    double lowest = 1e9;
    const auto n = static_cast<int64_t>(values.size());
    for (int64_t i = 0; i + std::min(window, n) <= n; ++i) {
      double sum = 0;
      for (int64_t j = i; j < i + std::min(window, n); ++j) sum += static_cast<double>(values[static_cast<size_t>(j)]);
      lowest = std::min(lowest, sum / static_cast<double>(std::min(window, n)));
    }
    EXPECT_NEAR(LowestWindow(values, window), lowest, 1e-9) << window;
  }
}

}  // namespace
}  // namespace candor
