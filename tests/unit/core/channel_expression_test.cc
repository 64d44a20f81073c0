#include "core/channel_expression.h"

#include <gtest/gtest.h>

namespace candor {
namespace {

double Value(const std::string& text, const std::map<std::string, double>& channels) {
  Result<ChannelExpression> expression = ChannelExpression::Parse(text);
  EXPECT_TRUE(expression.has_value()) << (expression ? "" : expression.error().Message());
  std::optional<double> value = expression ? expression->Evaluate(channels) : std::nullopt;
  EXPECT_TRUE(value.has_value()) << text;
  return value.value_or(-1e9);
}

TEST(ChannelExpression, FollowsArithmetic) {
  std::map<std::string, double> channels{{"a", 2.0}, {"b", 5.0}, {"my.reward/x_1", 0.25}};
  EXPECT_EQ(Value("a", channels), 2.0);
  EXPECT_EQ(Value("a + b", channels), 7.0);
  EXPECT_EQ(Value("a - b - 1", channels), -4.0);
  EXPECT_EQ(Value("1 - 2*a + b*a", channels), 7.0);
  EXPECT_EQ(Value("-a*-(b - 1)", channels), 8.0);
  EXPECT_EQ(Value("  2e-1*b+.5 ", channels), 1.5);
  EXPECT_EQ(Value("4*my.reward/x_1", channels), 1.0);
}

TEST(ChannelExpression, NamesAreListedOnceInOrder) {
  EXPECT_EQ(ChannelExpression::Parse("brier + 2*accuracy - brier*x")->names(), (std::vector<std::string>{"brier", "accuracy", "x"}));
  EXPECT_EQ(ChannelExpression::Parse("rlcr_code")->names(), (std::vector<std::string>{"format", "accuracy", "brier"}));
}

TEST(ChannelExpression, AMissingChannelIsMissingAndNotZero) {
  Result<ChannelExpression> sum = ChannelExpression::Parse("accuracy + 0*brier");
  EXPECT_FALSE(sum->Evaluate({{"accuracy", 1.0}}).has_value());
  EXPECT_TRUE(sum->Evaluate({{"accuracy", 1.0}, {"brier", 0.0}}).has_value());
}

TEST(ChannelExpression, AValueThatIsNotFiniteIsMissing) {
  EXPECT_FALSE(ChannelExpression::Parse("a*a")->Evaluate({{"a", 1e300}}).has_value());
  EXPECT_FALSE(ChannelExpression::Parse("a")->Evaluate({{"a", std::numeric_limits<double>::quiet_NaN()}}).has_value());
}

TEST(ChannelExpression, FaultsAreErrorsThatShowTheColumn) {
  for (const char* bad :
       {"", "  ", "+", "a +", "a b", "a / b", "a**b", "(a", "a)", "()", "1.2.3", "0.5accuracy", "1e999", "é", "a;b", "a,b", "2 3", "--"}) {
    Result<ChannelExpression> expression = ChannelExpression::Parse(bad);
    ASSERT_FALSE(expression.has_value()) << bad;
    EXPECT_NE(expression.error().Message().find("column"), std::string::npos) << bad;
  }
  EXPECT_FALSE(ChannelExpression::Parse(std::string(2000, '(') + "a" + std::string(2000, ')')).has_value());
  EXPECT_FALSE(ChannelExpression::Parse(std::string(2000, '-') + "a").has_value());
  EXPECT_FALSE(ChannelExpression::Parse(std::string(100000, ' ')).has_value());
}

TEST(ChannelExpression, ManyParenthesesSideBySideAreNotNesting) {
  std::string text = "(a)";
  for (int i = 0; i < 200; ++i) text += "+(a)";
  EXPECT_EQ(Value(text, {{"a", 1.0}}), 201.0);
}

}  // namespace
}  // namespace candor
