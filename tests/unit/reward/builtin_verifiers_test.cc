#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "core/fs.h"
#include "reward/verifiers/builtin.h"
#include "reward/verifiers/choice.h"
#include "reward/verifiers/normalise.h"
#include "reward/verifiers/numeric.h"
#include "reward/verifiers/python_tests.h"
#include "tests/unit/reward/testing.h"

namespace candor {
namespace {

using testing::Ask;
using testing::Row;

Label Grade(const std::string& kind, const DataRow& row, std::string_view answer) {
  VerifierOptions options;
  options.kind = kind;
  return MakeBuiltinVerifier(options)->Grade(Ask(row, answer)).label;
}

// squad_normalise.json holds [text, normalize_answer(text)] by CPython 3.11 running the official SQuAD rule on hand-picked and random
// Unicode texts.
TEST(Normalise, EqualsTheSquadRuleOfPython) {
  Result<std::string> file = ReadFile(CANDOR_SOURCE_DIR "/tests/unit/reward/squad_normalise.json");
  ASSERT_TRUE(file.has_value());
  nlohmann::json cases = nlohmann::json::parse(*file);
  ASSERT_GT(cases.size(), 600u);
  size_t changed = 0;
  for (const auto& item : cases) {
    EXPECT_EQ(NormaliseAnswer(item[0].get<std::string>()), item[1].get<std::string>()) << item[0];
    changed += item[0] != item[1];
  }
  EXPECT_GT(changed, 300u);  // the file tests something
}

TEST(Normalise, InvalidUtf8IsSurvived) {
  EXPECT_EQ(NormaliseAnswer("\xff\xfe x"), NormaliseAnswer("\xff\xfe  X"));
  EXPECT_FALSE(AnswersMatch(std::string(3, '\0'), "France"));
}

TEST(ExactMatch, AcceptsAnyOfTheSetAfterNormalisation) {
  DataRow row = Row({"France", "the French Republic"});
  EXPECT_EQ(Grade("exact_match", row, " france. "), Label::kCorrect);
  EXPECT_EQ(Grade("exact_match", row, "French republic"), Label::kCorrect);
  EXPECT_EQ(Grade("exact_match", row, "Germany"), Label::kWrong);
  EXPECT_EQ(Grade("exact_match", row, ""), Label::kWrong);
}

TEST(ExactMatch, AnEmptyAcceptedSetMakesEveryAnswerWrong) {
  for (const char* kind : {"exact_match", "accepted_set", "f1", "numeric", "choice"})
    for (const char* answer : {"France", "", "none", "7"}) EXPECT_EQ(Grade(kind, Row({}), answer), Label::kWrong) << kind << " " << answer;
}

TEST(ExactMatch, TextsThatNormaliseToNothingAreComparedAsTheyAre) {
  EXPECT_EQ(Grade("exact_match", Row({"A"}), "a"), Label::kCorrect);
  EXPECT_EQ(Grade("exact_match", Row({"A"}), "the"), Label::kWrong);
  EXPECT_EQ(Grade("exact_match", Row({"+"}), "-"), Label::kWrong);
}

TEST(AcceptedSet, IsLiteral) {
  EXPECT_EQ(Grade("accepted_set", Row({"France"}), " France\n"), Label::kCorrect);
  EXPECT_EQ(Grade("accepted_set", Row({"France"}), "france"), Label::kWrong);
}

TEST(F1, KeepsTheSoftValue) {
  VerifierOptions options;
  options.kind = "f1";
  auto verifier = MakeBuiltinVerifier(options);
  DataRow row = Row({"Barack Obama", "president Barack Hussein Obama"});
  Verdict verdict = verifier->Grade(Ask(row, "Barack"));
  EXPECT_EQ(verdict.label, Label::kCorrect);  // 2/3 with the first
  EXPECT_DOUBLE_EQ(verdict.soft_label, 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(verdict.rewards.at("f1"), 2.0 / 3.0);
  EXPECT_EQ(verifier->Grade(Ask(row, "one two three Obama five")).label, Label::kWrong);
  EXPECT_DOUBLE_EQ(TokenF1("yes it is", "yes"), 0.0);  // HotpotQA's exception
  EXPECT_DOUBLE_EQ(TokenF1("the yes", "yes"), 1.0);
  EXPECT_DOUBLE_EQ(TokenF1("b b c", "b"), 0.5);  // repeated words count once: precision 1/3, recall 1
}

TEST(Numeric, ReadsNumbersAsPeopleWriteThem) {
  const std::pair<const char*, const char*> equal[] = {{"1,234.50", "1234.5"},
                                                       {"-0.5", "-1/2"},
                                                       {"\xE2\x88\x92"
                                                        "3",
                                                        "-3"},
                                                       {"50%", "0.5"},
                                                       {"1e3", "1000"},
                                                       {"1 1/2", "3/2"},
                                                       {"$12", "12"},
                                                       {"-$5", "$-5"},
                                                       {"\\frac{3}{4}", ".75"},
                                                       {"7.", "7"},
                                                       {"1,000,000", "1000000"},
                                                       {"+4", "4"},
                                                       {"0.1", "1/10"},
                                                       {"12.5\\%", "1/8"},
                                                       {"$3.50$", "3.5"}};
  for (auto [left, right] : equal) {
    auto a = ParseRational(left), b = ParseRational(right);
    ASSERT_TRUE(a && b) << left << " " << right;
    EXPECT_TRUE(*a == *b) << left << " " << right;
  }
}

TEST(Numeric, RefusesWhatIsNotOneNumber) {
  for (const char* bad : {"",   "-",       "nan", "inf",   "1/0", "12 apples", "1,23", "1,2345",       "12,34,567", "1..2",           ".",
                          "1e", "1e99999", "--1", "1/2/3", "1 2", "0x10",      "%",    "\\frac{1}{0}", "\\frac{1}", "1e5000000000000"})
    EXPECT_FALSE(ParseRational(bad).has_value()) << bad;
  EXPECT_FALSE(ParseRational(std::string(100000, '9')).has_value());
}

TEST(Numeric, ToleranceIsExactAtItsEdge) {
  EXPECT_TRUE(WithinTolerance(*ParseRational("1.25"), *ParseRational("1"), 0.25, 0.0));
  EXPECT_FALSE(WithinTolerance(*ParseRational("1.2500001"), *ParseRational("1"), 0.25, 0.0));
  EXPECT_TRUE(WithinTolerance(*ParseRational("-150"), *ParseRational("-100"), 0.0, 0.5));
  EXPECT_EQ(Grade("numeric", Row({"0.3333333"}), "1/3"), Label::kCorrect);  // default relative tolerance 1e-6
  EXPECT_EQ(Grade("numeric", Row({"0.33"}), "1/3"), Label::kWrong);
  EXPECT_EQ(Grade("numeric", Row({"42"}), "forty-two"), Label::kWrong);
  EXPECT_EQ(Grade("numeric", Row({"forty-two"}), "42"), Label::kUnknown);  // the row is at fault, not the answer
  EXPECT_EQ(Grade("numeric", Row({"42", "forty-two"}), "Forty-two"), Label::kCorrect);
  EXPECT_EQ(Grade("numeric", Row({"42", "forty-two"}), "41"), Label::kWrong);
}

TEST(Choice, LettersTextsAndIndicesMeanTheSame) {
  DataRow row = Row({"B"}, R"({"choices":["Paris","Lyon","A"]})");
  for (const char* right : {"B", "b", "(B)", "B.", "B) Lyon", "option B", "answer: b", "lyon", "Lyon."})
    EXPECT_EQ(Grade("choice", row, right), Label::kCorrect) << right;
  for (const char* wrong : {"C", "Paris", "Bordeaux", "Z", "B or C", "", "A"})
    EXPECT_EQ(Grade("choice", row, wrong), Label::kWrong) << wrong;
  EXPECT_EQ(Grade("choice", Row({"1"}, R"({"choices":["Paris","Lyon"]})"), "Lyon"), Label::kCorrect);
  EXPECT_EQ(Grade("choice", Row({"D"}, R"({"choices":{"label":["A","B","C","D"],"text":["w","x","y","z"]}})"), "z"), Label::kCorrect);
  EXPECT_EQ(Grade("choice", Row({"E"}, R"({"choices":["Paris","Lyon"]})"), "A"), Label::kUnknown);
  EXPECT_EQ(Grade("choice", Row({"E"}, R"({"choices":"none"})"), "A"), Label::kUnknown);
  EXPECT_EQ(Grade("choice", Row({"C"}, R"({"q":1})"), "(c)"), Label::kCorrect);  // no choices: letters
  EXPECT_EQ(Grade("choice", Row({"C"}, R"({"q":1})"), "A dog"), Label::kWrong);
  EXPECT_FALSE(ChoiceLetter("A dog").has_value());
}

// Some of ARC's rows call their choices 1 to 4: the accepted "1" is the first, not the one at index 1.
TEST(Choice, ARowsOwnLabelsAreWhatItsAnswersMean) {
  const DataRow row = Row({"1"}, R"({"choices":{"label":["1","2","3","4"],"text":["Paris","Lyon","2.5","x"]}})");
  for (const char* right : {"1", "(1)", "1.", "1) Paris", "answer: 1", "paris", "A"})
    EXPECT_EQ(Grade("choice", row, right), Label::kCorrect) << right;
  for (const char* wrong : {"2", "Lyon", "B", "0", "12", "1.5", "2.5"}) EXPECT_EQ(Grade("choice", row, wrong), Label::kWrong) << wrong;
  EXPECT_EQ(Grade("choice", Row({"4"}, row.json), "x"), Label::kCorrect);
  EXPECT_EQ(Grade("choice", Row({"0"}, row.json), "Paris"), Label::kUnknown) << "no index where there are labels";
  const DataRow named = Row({"true"}, R"({"choices":{"label":[true,false],"text":["it floats","it sinks"]}})");
  EXPECT_EQ(Grade("choice", named, "True"), Label::kCorrect);
  EXPECT_EQ(Grade("choice", named, "it sinks"), Label::kWrong);
  for (const char* labels : {R"(["A"])", R"(["A","a"])", R"("AB")"})
    EXPECT_EQ(Grade("choice", Row({"A"}, std::string(R"({"choices":{"label":)") + labels + R"(,"text":["x","y"]}})"), "x"), Label::kUnknown)
        << labels;
}

// The verdict of code that a policy wrote: whoever does not know the nonce has no say, and nothing it prints is followed into its depth.
TEST(PythonTests, OnlyALineWithTheNonceIsAVerdict) {
  EXPECT_EQ(ReadTestVerdict(R"({"nonce": "n", "pass": true})", "n")->label, Label::kCorrect);
  const auto failed = ReadTestVerdict(R"({"nonce": "n", "pass": false, "why": "3 is not 4"})", "n");
  EXPECT_EQ(failed->label, Label::kWrong);
  EXPECT_EQ(failed->reason, "3 is not 4");
  const std::string deep = std::string(200'000, '[') + std::string(200'000, ']');
  for (const std::string& line :
       std::vector<std::string>{"", "passed", R"({"nonce": "m", "pass": true})", R"({"pass": true})", R"({"nonce": "n", "pass": "true"})",
                                R"({"nonce": )" + deep + R"(, "pass": true})", R"({"nonce": "n", "pass": true, "why": )" + deep + "}"})
    EXPECT_FALSE(ReadTestVerdict(line, "n")) << line.substr(0, 60);
}

}  // namespace
}  // namespace candor
