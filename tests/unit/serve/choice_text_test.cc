// What a stream shows and when: whole characters, nothing of a stop text, all of the rest; and requests that are read or refused by field.
#include "serve/choice_text.h"

#include <gtest/gtest.h>

#include "serve/request.h"

namespace candor {
namespace {

class Choices : public ::testing::Test {
 protected:
  const Tokenizer tokenizer_ = *Tokenizer::Load(std::string(CANDOR_SOURCE_DIR) + "/recipes/tiny/model");
  // Pieces as a stream would show them, then the tokens that were shown.
  std::vector<std::string> Show(const std::string& text, std::vector<std::string> stops, std::vector<ShownToken>* shown = nullptr) const {
    ChoiceText choice(tokenizer_, {}, std::move(stops));
    std::vector<std::string> pieces;
    const std::vector<int32_t> ids = *tokenizer_.Encode(text, false);
    for (const int32_t id : ids) pieces.push_back(*choice.Push({0, id, -0.5f, {}}));
    pieces.push_back(*choice.Finish());
    std::string together;
    for (const std::string& piece : pieces) together += piece;
    EXPECT_EQ(together, choice.text());
    if (shown) *shown = choice.TakeTokens();
    return pieces;
  }
  static std::string Joined(const std::vector<std::string>& pieces) {
    std::string text;
    for (const std::string& piece : pieces) text += piece;
    return text;
  }
};

TEST_F(Choices, WithoutStopsEverythingIsShownAtOnce) {
  const std::string text = "<answer>7</answer> caf\xC3\xA9";
  EXPECT_EQ(Joined(Show(text, {})), text);
  EXPECT_EQ(Show(text, {}).back(), "") << "nothing was held back";
}

TEST_F(Choices, AStopTextIsNeverShownNotEvenItsBeginning) {
  const std::string text = "<answer>7</answer> and more";
  for (const std::string stop : {"</answer>", "answer>7", "> and", "7"}) {
    std::vector<ShownToken> shown;
    const std::vector<std::string> pieces = Show(text, {stop}, &shown);
    const std::string expected = text.substr(0, text.find(stop));
    EXPECT_EQ(Joined(pieces), expected) << stop;
    for (const ShownToken& token : shown) EXPECT_LT(token.begin_byte, static_cast<int64_t>(std::max<size_t>(1, expected.size())));
  }
  EXPECT_EQ(Joined(Show("<answer>7</ans", {"</answer>"})), "<answer>7</ans") << "what only began like a stop text is shown in the end";
}

TEST_F(Choices, EndTokensAreNoText) {
  const int32_t end = tokenizer_.end_ids().at(0);
  ChoiceText choice(tokenizer_, {end}, {});
  const int32_t first = tokenizer_.Encode("7", false)->at(0);
  EXPECT_EQ(*choice.Push({0, first, 0.0f, {}}), "7");
  EXPECT_EQ(*choice.Push({0, end, 0.0f, {}}), "");
  EXPECT_EQ(choice.TakeTokens().size(), 1u);
  EXPECT_EQ(choice.sampled(), 2);
}

TEST(Requests, AreReadIntoWhatTheyMean) {
  const auto request = ReadRequest(
      Endpoint::kChat,
      R"({"messages":[{"role":"developer","content":"S"},{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}],
    "n":2,"temperature":0,"seed":-1,"stop":"x","logprobs":true,"top_logprobs":3,"max_completion_tokens":9,"stream":true,"stream_options":{"include_usage":true},"user":"me","logit_bias":{},"top_k":-1})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->messages_json, R"([{"content":"S","role":"system"},{"content":"ab","role":"user"}])");
  EXPECT_EQ(request->n, 2);
  EXPECT_EQ(request->seed, UINT64_MAX);
  EXPECT_EQ(request->sampling.max_new_tokens, 9);
  EXPECT_EQ(request->sampling.top_k, 0);
  EXPECT_TRUE(request->stream && request->stream_usage && request->log_probs && request->top_log_probs == 3);
  const auto completion = ReadRequest(Endpoint::kCompletions, R"({"prompt":["a",[1,2]],"logprobs":0})");
  ASSERT_TRUE(completion);
  EXPECT_EQ(completion->prompts.size(), 2u);
  EXPECT_TRUE(completion->log_probs);
  EXPECT_EQ(completion->sampling.max_new_tokens, 16);
  const auto many = ReadRequest(Endpoint::kCompletions, R"({"prompt":["a","b"],"n":100})");
  ASSERT_FALSE(many);
  EXPECT_EQ(many.error().param, "n");
  EXPECT_EQ(ToJson(ApiError{400, "m\xFF", "", "t", ""}),
            "{\"error\":{\"code\":null,\"message\":\"m\xEF\xBF\xBD\",\"param\":null,\"type\":\"t\"}}");
}

}  // namespace
}  // namespace candor
