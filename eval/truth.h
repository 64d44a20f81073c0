// Answers to questions whose truth is known as probabilities: how far a policy is from the best that anybody could do. A file of rows gives
// each row's `chance`: an object from answers to the probability that they are right; an answer that is not listed is surely wrong. Pure
// apart from reading the file.
#pragma once
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "core/result.h"
#include "eval/answers.h"

namespace candor {

struct KnownChances {
  std::map<std::string, std::map<std::string, double>> by_row;  // by the row's id
};
// Errors name file:line: no id, no chances, a number outside [0, 1].
Result<KnownChances> ReadChances(const std::string& path);

// An answer as exact_match compares it, roughly: lower case, letters and digits of ASCII and everything beyond ASCII. "<R" is "r".
std::string PlainAnswer(const std::string& answer);
// The chance of an answer as written, else as PlainAnswer; 0 where it is not listed.
double ChanceOf(const std::map<std::string, double>& chances, const std::string& answer);

// Of the answer that was given, and the largest of its row. Error: a row that the chances do not know.
struct GivenChance {
  double given = 0, best = 0;
};
Result<GivenChance> ChanceOf(const KnownChances& chances, const AnswerRow& row);
// Tenths of best, the last with 1 in it.
inline constexpr int kTruthDeciles = 10;
int TruthDecile(double best);

// Of these answers, with p* = the chance of the answer that was given and best = the largest chance of the row:
//   accuracy         mean p*: what the drawn labels scatter around       bayes_accuracy      mean best
//   surely_wrong     share of answers whose chance is 0 though best > 0  stated              answers with a confidence
//   confidence_error mean |confidence - p*|                              deciles             the same three by best
//   slope            of logit confidence on logit p* (calibration::LogitSlope)
// An answer without a confidence counts for accuracy alone. Errors: a row that the chances do not know.
Result<nlohmann::json> MeasureAgainstTruth(const KnownChances& chances, const std::vector<AnswerRow>& rows);

// One line per run and its deciles; `runs` holds what MeasureAgainstTruth gave, each with a "name".
std::string TruthText(const nlohmann::json& runs);

}  // namespace candor
