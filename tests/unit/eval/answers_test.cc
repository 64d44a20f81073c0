// Answers as lines: what was written can be read again, whatever a model's numbers were.
#include "eval/answers.h"

#include <gtest/gtest.h>

#include <cmath>

namespace candor {
namespace {

// A model whose numbers overflow has signals that are none; one of them once made the file of a whole evaluation unreadable.
TEST(Answers, ASignalThatIsNoNumberIsLeftOut) {
  AnswerRow row;
  row.dataset = "test", row.prompt = "1", row.label = Label::kWrong;
  row.signals = {{"answer_prob", std::nan("")}, {"self_certainty", INFINITY}, {"slot", 0.25}};
  const auto again = ParseAnswerRow(ToJsonLine(row), "answers.jsonl:1");
  ASSERT_TRUE(again) << again.error().Message();
  EXPECT_EQ(again->signals, (std::map<std::string, double>{{"slot", 0.25}}));
  EXPECT_EQ(again->label, Label::kWrong);
}

}  // namespace
}  // namespace candor
