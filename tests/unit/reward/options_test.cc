#include "reward/options.h"

#include "reward/verifier_trial.h"
#include "tests/unit/reward/testing.h"

namespace candor {
namespace {

using testing::Ask;
using testing::Row;
using testing::TempFolder;

Result<RewardOptions> Bind(const std::string& toml) {
  RecipeSource source;
  CANDOR_TRY(source.AddText(toml, "recipe.toml"));
  RewardOptions options;
  OptionTable table;
  Declare(table, options);
  CANDOR_TRY(source.Bind(table));
  return options;
}

TEST(RewardOptions, VerifiersAreBoundFromTheRecipe) {
  Result<RewardOptions> options = Bind(
      "[reward]\nthreads = 2\n[[verifier]]\nname = \"mine\"\ncommand = [\"python3\", \"my_reward.py\"]\ntimeout_s = 3.5\nprocesses = 4\n");
  ASSERT_TRUE(options.has_value()) << options.error().Message();
  ASSERT_EQ(options->verifiers.size(), 1u);
  EXPECT_EQ(options->verifiers[0].command[1], "my_reward.py");
  EXPECT_EQ(options->verifiers[0].timeout_s, 3.5);
  EXPECT_EQ(options->threads, 2);
  EXPECT_FALSE(Bind("[[verifier]]\nname = \"x\"\ncomand = [\"a\"]\n").has_value());
  EXPECT_FALSE(Bind("[[verifier]]\nkind = \"f1\"\n").has_value());  // no name
  EXPECT_FALSE(Bind("[reward]\nfilter = \"total\"\n").has_value());
}

TEST(MakeVerifiers, TheMainOneLabelsAndAllGiveChannels) {
  RewardOptions options;
  VerifierOptions f1, exact, second;
  f1.name = "overlap";
  f1.kind = second.kind = "f1";
  exact.name = "strict";
  exact.kind = "exact_match";
  second.name = "again";
  options.verifiers = {f1, exact, second};
  options.verifier = "strict";
  Result<std::unique_ptr<Verifier>> verifiers = MakeVerifiers(options);
  ASSERT_TRUE(verifiers.has_value()) << verifiers.error().Message();
  DataRow row = Row({"Barack Obama"});
  Verdict verdict = (*verifiers)->Grade(Ask(row, "Obama"));
  EXPECT_EQ(verdict.label, Label::kWrong);
  EXPECT_DOUBLE_EQ(verdict.rewards.at("f1"), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(verdict.rewards.at("again/f1"), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(verdict.rewards.at("overlap"), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(verdict.rewards.at("strict"), 0.0);
  options.verifier = "";  // the first one
  EXPECT_EQ((*MakeVerifiers(options))->Grade(Ask(row, "Obama")).label, Label::kCorrect);
  options.verifier = "exact_match";  // a built-in beside them
  EXPECT_EQ((*MakeVerifiers(options))->Grade(Ask(row, "Obama")).label, Label::kWrong);
}

TEST(MakeVerifiers, MistakesAreErrorsWithAdvice) {
  RewardOptions options;
  options.verifier = "exact_mach";
  EXPECT_NE(MakeVerifiers(options).error().fix.find("exact_match"), std::string::npos);
  options.verifier = "";
  VerifierOptions named;
  named.name = "accuracy";
  options.verifiers = {named};
  EXPECT_FALSE(MakeVerifiers(options).has_value());
  named.name = "twice";
  options.verifiers = {named, named};
  EXPECT_FALSE(MakeVerifiers(options).has_value());
  EXPECT_TRUE(MakeVerifiers(RewardOptions{}).has_value());  // exact_match
}

TEST(TryVerifier, TellsGoodVerifiersFromBadOnes) {
  std::vector<DataRow> rows = {Row({"France"}), Row({"Peru"}), Row({})};
  rows[1].id = "peru";
  TagFormat format = *TagFormat::From(std::vector<std::string>{"answer"}, "none");
  TrialReport good = TryVerifier(**MakeVerifiers(RewardOptions{}), rows, format);
  EXPECT_TRUE(good.ok()) << TrialTable(good);
  EXPECT_EQ(good.gold, 2);
  EXPECT_EQ(good.wrong, 9);  // another's, empty and nonsense for each row; the row without answers included
  EXPECT_EQ(CompletionOf(format, "Peru"), "<answer>Peru</answer>");

  struct Constant final : Verifier {
    explicit Constant(Verdict given) : verdict(std::move(given)) {}
    Verdict Grade(const GradeRequest&) const override { return verdict; }
    Verdict verdict;
  };
  EXPECT_FALSE(TryVerifier(Constant(BinaryVerdict(true)), rows, format).ok());
  EXPECT_FALSE(TryVerifier(Constant(BinaryVerdict(false)), rows, format).ok());
  TrialReport down = TryVerifier(Constant(UnknownVerdict("it is down")), rows, format);
  EXPECT_FALSE(down.ok());
  EXPECT_NE(TrialTable(down).find("it is down"), std::string::npos);
}

// math without its package: numbers are graded, everything else is unknown.
TEST(TryVerifier, AVerifierThatCannotGradeSomeAnswersIsNotOk) {
  struct NumbersOnly final : Verifier {
    Verdict Grade(const GradeRequest& request) const override {
      return request.answer == "7" ? BinaryVerdict(true) : UnknownVerdict("no such\npackage");
    }
  };
  std::vector<DataRow> rows = {Row({"7"})};
  rows[0].id = "/a/long/path/to/the/rows/train.jsonl:123";
  const TrialReport report = TryVerifier(NumbersOnly(), rows, *TagFormat::From({}, "none"));
  EXPECT_EQ(report.gold_correct, 1);
  EXPECT_FALSE(report.ok());
  const std::string table = TrialTable(report);
  EXPECT_NE(table.find("no such package"), std::string::npos) << "one line a case:\n" << table;
  EXPECT_NE(table.find("train.jsonl:123 "), std::string::npos) << "the end of a row's name tells it from the others:\n" << table;
  EXPECT_EQ(report.problems.size(), 1u) << "one line for all that could not be graded";
}

}  // namespace
}  // namespace candor
