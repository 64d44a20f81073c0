// Rows to prompts: system prompt, template, slot tokens, and what ends a turn.
#include "text/prompt.h"

#include <gtest/gtest.h>

#include "parity_lines.h"

namespace candor {
namespace {

using text_test::Golden;

class PromptTest : public testing::Test {
 protected:
  PromptBuilder Make(const FormatOptions& options) const {
    auto builder = PromptBuilder::Make(&tokenizer_, &chat_, options);
    EXPECT_TRUE(builder) << builder.error().Message();
    return *builder;
  }
  static FormatOptions Plain() {
    FormatOptions options;
    options.tags = {"answer"};
    options.confidence = "none";
    options.system_prompt = "Be brief.";
    return options;
  }
  static DataRow Row(const std::string& line) { return ParseRow(line, "f:1", {}, {}).value(); }

  Tokenizer tokenizer_ = Tokenizer::Load(Golden("tiny_model")).value();
  ChatTemplate chat_ = ChatTemplate::Load(Golden("tiny_model")).value();
};

TEST_F(PromptTest, AStringRow) {
  FormatOptions options = Plain();
  options.prompt_template = "Q: {prompt} {prompt}";
  const PromptText prompt = Make(options).Build(Row(R"({"prompt": "Where is {prompt}?"})")).value();
  EXPECT_EQ(prompt.text,
            "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nQ: Where is {prompt}? Where is "
            "{prompt}?<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(prompt.ids_P, tokenizer_.Encode(prompt.text, false).value());
  EXPECT_EQ(Make(options).BuildQuestion("Where is {prompt}?").value().text, prompt.text);
}

TEST_F(PromptTest, MessagesKeepTheirOwnSystemPromptBehindOurs) {
  const DataRow row = Row(
      R"({"prompt": [{"role": "system", "content": "Own."}, {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]})");
  FormatOptions options = Plain();
  options.prompt_template = "<{prompt}>";
  EXPECT_EQ(
      Make(options).Messages(row).value(),
      R"([{"role":"system","content":"Be brief.\n\nOwn."},{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"<c>"}])");
}

TEST_F(PromptTest, TheSystemPromptCanGoToTheUser) {
  FormatOptions options = Plain();
  options.system_role = "user";
  EXPECT_EQ(Make(options).Messages(Row(R"({"prompt": "a"})")).value(), R"([{"role":"user","content":"Be brief.\n\na"}])");
  options.system_prompt = "";
  EXPECT_EQ(Make(options).Messages(Row(R"({"prompt": "a"})")).value(), R"([{"role":"user","content":"a"}])");
  options.system_prompt = "auto";
  EXPECT_NE(Make(options).system_prompt().find("<answer>"), std::string::npos);
}

TEST_F(PromptTest, CompletionsEndAsTheTemplateEndsATurn) {
  const PromptBuilder builder = Make(Plain());
  std::vector<int32_t> expected = tokenizer_.Encode("<answer>x</answer>", false).value();
  expected.push_back(*tokenizer_.TokenToId("<|im_end|>"));
  EXPECT_EQ(builder.EncodeCompletion("<answer>x</answer>").value(), expected);
  EXPECT_EQ(builder.stop_ids(), (std::vector<int32_t>{0, 2}));
}

TEST_F(PromptTest, SlotTokensMustBeTwoTokens) {
  FormatOptions options = Plain();
  options.confidence = "slot";
  EXPECT_FALSE(PromptBuilder::Make(&tokenizer_, &chat_, options)) << "no tokens named";
  options.slot_high = "a";
  options.slot_low = "a";
  EXPECT_FALSE(PromptBuilder::Make(&tokenizer_, &chat_, options)) << "the same token";
  options.slot_low = "quite improbable";
  const auto long_text = PromptBuilder::Make(&tokenizer_, &chat_, options);
  ASSERT_FALSE(long_text);
  EXPECT_EQ(long_text.error().where, "format.slot_low");
  options.slot_low = "b";
  EXPECT_EQ(Make(options).slot().high, *tokenizer_.TokenToId("a"));
  EXPECT_EQ(Make(options).slot().low, *tokenizer_.TokenToId("b"));
  options.slot_high = " ";  // spelled "Ġ" in the vocabulary
  EXPECT_EQ(Make(options).slot().high, *tokenizer_.TokenToId("Ġ"));
}

TEST_F(PromptTest, BadOptionsAndTemplatesAreErrors) {
  FormatOptions options = Plain();
  options.prompt_template = "no place";
  EXPECT_FALSE(PromptBuilder::Make(&tokenizer_, &chat_, options));
  const ChatTemplate no_system = ChatTemplate::FromSource(
                                     "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('System role not supported') "
                                     "}}{% endif %}{{ m.content }}<|im_end|>{% endfor %}",
                                     "g")
                                     .value();
  const PromptBuilder builder = PromptBuilder::Make(&tokenizer_, &no_system, Plain()).value();
  const auto prompt = builder.Build(Row(R"({"prompt": "a"})"));
  ASSERT_FALSE(prompt);
  EXPECT_NE(prompt.error().Message().find("format.system_role"), std::string::npos) << prompt.error().Message();
  EXPECT_NE(prompt.error().where.find("f:1"), std::string::npos);
}

}  // namespace
}  // namespace candor
