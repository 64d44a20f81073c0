// Semantic entropy and paraphrase stability by hand.
#include "eval/consistency.h"

#include <gmock/gmock.h>

#include <cmath>
#include <nlohmann/json.hpp>

#include "eval/select.h"
#include "eval/tables.h"

namespace candor {
namespace {

using testing::HasSubstr;
using testing::Not;

AnswerRow Said(const std::string& id, const std::string& answer, Label label, int sample = -1) {
  AnswerRow row;
  row.dataset = "test", row.role = "held_out", row.prompt = id, row.answer = answer, row.label = label, row.confidence = 0.5;
  row.greedy = sample < 0, row.sample = std::max(sample, 0);
  return row;
}

// Question a: greedy right, samples France, france., France, Spain (shares 3/4 and 1/4). Question b: greedy wrong, four answers. Question
// c: one sample only.
std::vector<AnswerRow> ThreeQuestions() {
  std::vector<AnswerRow> rows = {Said("a", "France", Label::kCorrect), Said("b", "Chad", Label::kWrong),
                                 Said("c", "Mali", Label::kCorrect)};
  int sample = 0;
  for (const char* answer : {"France", "france.", "FRANCE", "Spain"}) rows.push_back(Said("a", answer, Label::kCorrect, sample++));
  for (const char* answer : {"Chad", "Mali", "Togo", "Peru"}) rows.push_back(Said("b", answer, Label::kWrong, sample++));
  rows.push_back(Said("c", "Mali", Label::kCorrect, sample++));
  return rows;
}

TEST(SemanticEntropyFigures, ByHandAndApartByTheGreedyAnswer) {
  const double a = -(0.75 * std::log(0.75) + 0.25 * std::log(0.25)), b = std::log(4.0);
  const SemanticEntropyFigures f = ComputeSemanticEntropyFigures(ThreeQuestions());
  EXPECT_EQ(f.all.clusters, 2) << "one sample says nothing";
  EXPECT_NEAR(f.all.mean, (a + b) / 2, 1e-12);
  EXPECT_NEAR(f.right.mean, a, 1e-12);
  EXPECT_NEAR(f.wrong.mean, b, 1e-12);
  EXPECT_NEAR(f.samples, 4.0, 1e-12);
  EXPECT_NEAR(f.auroc, 1.0, 1e-12) << "the undecided question is the wrong one";
  EXPECT_NEAR(EntropyByQuestion(ThreeQuestions()).at("a"), 0.5623351446, 1e-9);
}

TEST(SemanticEntropyFigures, ABrokenFormatIsNoAnswerAndAnUnknownLabelNoSide) {
  std::vector<AnswerRow> rows = ThreeQuestions();
  for (AnswerRow& row : rows)
    if (row.prompt == "b" && row.answer != "Chad") row.format_error = "no answer";
  EXPECT_EQ(ComputeSemanticEntropyFigures(rows).all.clusters, 1) << "b has one readable sample left";
  rows = ThreeQuestions();
  for (AnswerRow& row : rows)
    if (row.greedy) row.label = Label::kUnknown;
  const SemanticEntropyFigures f = ComputeSemanticEntropyFigures(rows);
  EXPECT_EQ(f.all.clusters, 2);
  EXPECT_EQ(f.right.clusters + f.wrong.clusters, 0);
  EXPECT_TRUE(std::isnan(f.auroc));
  EXPECT_FALSE(ComputeSemanticEntropyFigures({Said("a", "France", Label::kCorrect)}).Any());
}

AnswerRow Phrased(const std::string& question, int wording, const std::string& answer, Label label, std::optional<double> confidence) {
  AnswerRow row = Said(question + "/" + std::to_string(wording), answer, label);
  row.paraphrase_of = question, row.confidence = confidence;
  return row;
}

// Question a in three wordings: confidences .9, .8, .5, so that pairs differ by .1, .4, .3; the last answer is another and wrong: 2 of 3
// pairs. Question b in two, alike but for .2 of confidence.
std::vector<AnswerRow> TwoPhrased() {
  return {Phrased("a", 0, "France", Label::kCorrect, .9), Phrased("a", 1, "france", Label::kCorrect, .8),
          Phrased("a", 2, "Spain", Label::kWrong, .5), Phrased("b", 0, "Chad", Label::kWrong, .2),
          Phrased("b", 1, "Chad", Label::kWrong, .4)};
}

TEST(ParaphraseFigures, AreMeansOverPairsThenOverQuestions) {
  const ParaphraseFigures f = ComputeParaphraseFigures(TwoPhrased());
  EXPECT_EQ(f.questions, 2);
  EXPECT_NEAR(f.phrasings, 2.5, 1e-12);
  EXPECT_NEAR(f.confidence.mean, (0.8 / 3 + 0.2) / 2, 1e-12);
  EXPECT_NEAR(f.answer.mean, (2.0 / 3 + 0) / 2, 1e-12);
  EXPECT_NEAR(f.grade.mean, (2.0 / 3 + 0) / 2, 1e-12);
  EXPECT_EQ(f.grade.interval.low, 0.0) << "a share has no interval below 0, nor above 1";
  EXPECT_EQ(f.grade.interval.high, 1.0);
}

TEST(ParaphraseFigures, TakeNothingFromRowsThatShareNoQuestion) {
  std::vector<AnswerRow> apart = TwoPhrased();
  for (AnswerRow& row : apart) row.paraphrase_of = row.prompt;
  EXPECT_EQ(ComputeParaphraseFigures(apart).questions, 0);
  EXPECT_EQ(ComputeParaphraseFigures(ThreeQuestions()).questions, 0);
  std::vector<AnswerRow> silent = TwoPhrased();
  for (AnswerRow& row : silent) row.confidence.reset();
  EXPECT_EQ(ComputeParaphraseFigures(silent).confidence.clusters, 0) << "missing, not 0";
}

TEST(ParaphraseFigures, PhrasingsOfOneQuestionAreOneCluster) {
  const auto rows = ToRows(TwoPhrased());
  EXPECT_EQ(rows[0].prompt, rows[2].prompt);
  EXPECT_NE(rows[0].prompt, rows[3].prompt);
  const AnswerRow back = ParseAnswerRow(ToJsonLine(TwoPhrased()[0]), "x:1").value();
  EXPECT_EQ(back.paraphrase_of, "a");
  EXPECT_THAT(ToJsonLine(ThreeQuestions()[0]), Not(HasSubstr("paraphrase_of")));
}

TEST(Tables, ShowBothWhereThereAreSuchRowsAndOnlyThere) {
  std::vector<AnswerRow> rows = ThreeQuestions();
  EXPECT_THAT(AnswersText(rows), HasSubstr("Several answers to one question"));
  EXPECT_THAT(AnswersText(rows), Not(HasSubstr("Several phrasings")));
  EXPECT_THAT(AnswersText(TwoPhrased()), HasSubstr("Several phrasings of one question"));
  EXPECT_THAT(AnswersText(TwoPhrased()), Not(HasSubstr("Several answers")));
  const auto json = nlohmann::json::parse(AnswersJson(rows));
  EXPECT_NEAR(json["semantic_entropy"]["test"]["greedy_wrong"]["mean"].get<double>(), std::log(4.0), 1e-12);
  EXPECT_TRUE(json["semantic_entropy"]["test"]["greedy_wrong"]["low"].is_null()) << "one question has no interval";
}

}  // namespace
}  // namespace candor
