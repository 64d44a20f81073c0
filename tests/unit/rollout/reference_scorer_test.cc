// The reference answer behind each trace's reasoning: which tokens are put together, and that their log-probabilities are those of the same
// tokens scored one sequence at a time.
#include "rollout/reference_scorer.h"

#include "rollout/scorer.h"
#include "tests/unit/rollout/tiny_fixture.h"

namespace candor {
namespace {

TagFormat ThinkFirst() {
  const std::vector<std::string> tags{"think", "answer"};
  return *TagFormat::From(tags, "none");
}

std::string Decoded(const Tokenizer& tokenizer, const std::vector<int32_t>& ids) { return *tokenizer.Decode(ids, false); }

class References : public testing::Test {
 protected:
  std::vector<float> ScoredAlone(const std::string& before, const std::string& reference) {
    std::vector<int32_t> completion = Ids(tokenizer_, before);
    const std::vector<int32_t> tail = Ids(tokenizer_, reference);
    completion.insert(completion.end(), tail.begin(), tail.end());
    const ScoredTokens scored = *Scorer(*engine_).ScoreOne(prompt_, completion);
    return {scored.log_probs_T.end() - static_cast<std::ptrdiff_t>(tail.size()), scored.log_probs_T.end()};
  }
  // By asking for every token of the vocabulary in its place.
  std::vector<int32_t> RankedAlone(const std::string& before, const std::string& reference) {
    std::vector<int32_t> written = Ids(tokenizer_, before), ranks_R;
    for (const int32_t target : Ids(tokenizer_, reference)) {
      std::vector<std::vector<int32_t>> each(static_cast<size_t>(config_.vocab_size), written);
      for (size_t v = 0; v < each.size(); ++v) each[v].push_back(static_cast<int32_t>(v));
      const std::vector<ScoredTokens> scored = *Scorer(*engine_).Score(prompt_, each);
      const float own = scored[static_cast<size_t>(target)].log_probs_T.back();
      ranks_R.push_back(
          1 + static_cast<int32_t>(std::ranges::count_if(scored, [&](const ScoredTokens& s) { return s.log_probs_T.back() > own; })));
      written.push_back(target);
    }
    return ranks_R;
  }
  Trace Saying(const std::string& text) const {
    Trace trace;
    trace.tokens_T = Ids(tokenizer_, text);
    return trace;
  }
  Tokenizer tokenizer_ = TinyTokenizer();
  TagFormat format_ = ThinkFirst();
  ModelConfig config_ = TinyConfig();
  std::unique_ptr<Engine> engine_ = TinyEngine(TinyEngineOptions(true), config_, TinyParameters(config_));
  std::vector<int32_t> prompt_ = Ids(tokenizer_, "Q: capital?");
};

TEST_F(References, StandWhereTheTracesOwnAnswerStood) {
  const std::vector<int32_t> written = Ids(tokenizer_, "<think>hm</think>\n<answer>Rome</answer>");
  const auto forced = ForceReference(tokenizer_, format_, written, "Paris").value();
  ASSERT_TRUE(forced);
  EXPECT_EQ(Decoded(tokenizer_, forced->tokens_T), "<think>hm</think>\n<answer>Paris");
  EXPECT_EQ(forced->reference, 5u);
  EXPECT_EQ(std::vector<int32_t>(forced->tokens_T.begin(), forced->tokens_T.begin() + 20),
            std::vector<int32_t>(written.begin(), written.begin() + 20))
      << "the trace's own tokens, not its text encoded again";
}

TEST_F(References, ATagThatEndsInsideATokenIsEncodedWithTheReference) {
  const std::vector<int32_t> written = Ids(tokenizer_, "<think>hm</think><answer>xyz</answer>");  // ">x" is one token
  const auto forced = ForceReference(tokenizer_, format_, written, "Nice").value();
  ASSERT_TRUE(forced);
  EXPECT_EQ(Decoded(tokenizer_, forced->tokens_T), "<think>hm</think><answer>Nice");
  EXPECT_EQ(forced->reference, 4u);
  const auto merged = ForceReference(tokenizer_, format_, written, "xy").value();
  EXPECT_EQ(Decoded(tokenizer_, merged->tokens_T), "<think>hm</think><answer>xy");
  EXPECT_EQ(merged->reference, 2u) << "the token that holds the tag's last byte and the reference's first counts";
}

TEST_F(References, WithoutAnAnswerTagInItsPlaceThereIsNothingToScore) {
  for (const char* text : {"", "no tags", "<think>cut off", "<answer>too early</answer><think>x</think>", "<think>x</think><answer>open"})
    EXPECT_FALSE(ForceReference(tokenizer_, format_, Ids(tokenizer_, text), "Paris").value()) << text;
}

TEST_F(References, TheBaseHasTheFormatsTagsAndNoReasoning) {
  const auto base = [&](const std::string& prompt) {
    return Decoded(tokenizer_, ForceReferenceWithoutReasoning(tokenizer_, format_, prompt, "Paris")->tokens_T);
  };
  EXPECT_EQ(base("Q: capital?"), "<think></think>\n<answer>Paris");
  EXPECT_EQ(base("Q: capital?\n<think>\n"), "</think>\n<answer>Paris") << "the prompt has opened it";
}

TEST_F(References, AreScoredAsIfEachSequenceStoodAlone) {
  TraceGroup group;
  group.prompt_tokens_P = prompt_;
  group.traces_G = {Saying("<think>a</think><answer>Rome</answer>"), Saying("<think>bb b</think><answer>Oslo</answer>"), Saying("nothing"),
                    Saying("<think>a</think><answer>Rome</answer>")};
  group.traces_G[3].greedy = true;
  ASSERT_TRUE(ReferenceScorer(tokenizer_, format_, *engine_).Score("Lima", group));
  EXPECT_EQ(group.reference_base_R, ScoredAlone("<think></think>\n<answer>", "Lima"));
  EXPECT_EQ(group.traces_G[0].reference_log_probs_R, ScoredAlone("<think>a</think><answer>", "Lima"));
  EXPECT_EQ(group.traces_G[1].reference_log_probs_R, ScoredAlone("<think>bb b</think><answer>", "Lima"));
  EXPECT_NE(group.traces_G[0].reference_log_probs_R, group.traces_G[1].reference_log_probs_R) << "the reasoning matters";
  EXPECT_TRUE(group.traces_G[2].reference_log_probs_R.empty());
  EXPECT_TRUE(group.traces_G[3].reference_log_probs_R.empty()) << "a greedy trace trains only the slot";
}

TEST_F(References, AreRankedAmongAllTokensThatCouldStandThere) {
  TraceGroup group;
  group.prompt_tokens_P = prompt_;
  group.traces_G = {Saying("<think>a</think><answer>Rome</answer>"), Saying("<think>bb b</think><answer>Oslo</answer>"), Saying("nothing")};
  ASSERT_TRUE(ReferenceScorer(tokenizer_, format_, *engine_).Score("Lima", group));
  EXPECT_EQ(group.traces_G[0].reference_ranks_R, RankedAlone("<think>a</think><answer>", "Lima"));
  EXPECT_EQ(group.traces_G[1].reference_ranks_R, RankedAlone("<think>bb b</think><answer>", "Lima"));
  EXPECT_NE(group.traces_G[0].reference_ranks_R, group.traces_G[1].reference_ranks_R);
  EXPECT_TRUE(group.traces_G[2].reference_ranks_R.empty());
  EXPECT_TRUE(Scorer(*engine_).ScoreOne(prompt_, {1, 2})->ranks_T.empty()) << "nobody asked";
}

TEST_F(References, WhatTheModelHasNoRoomForIsLeftOut) {
  TraceGroup group;
  group.prompt_tokens_P = prompt_;
  group.traces_G = {Saying("<think>" + std::string(470, 'a') + "</think><answer>Rome</answer>")};
  ASSERT_TRUE(ReferenceScorer(tokenizer_, format_, *engine_).Score("a long reference answer", group));
  EXPECT_FALSE(group.reference_base_R.empty());
  EXPECT_TRUE(group.traces_G[0].reference_log_probs_R.empty());
}

}  // namespace
}  // namespace candor
