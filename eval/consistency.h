// What several answers to one question, or answers to several phrasings of it, say about each other. Answers are one where they are equal
// after normalisation (PlainAnswer): for answers of a word or two that is their meaning; sentences that say the same in other words count
// as different. Pure.
#pragma once
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "calibration/intervals.h"
#include "eval/answers.h"

namespace candor {

// Entropy over the different answers of a question's samples (Kuhn et al. 2023, discrete), in nats, over questions with at least two
// readable samples: all of them, and those whose greedy answer is right or wrong. A calibrated policy is undecided where it is wrong. An
// answer that broke the format has no part; fewer samples give less entropy, so that only equal numbers of samples compare.
struct SemanticEntropyFigures {
  calibration::ClusteredMean all, right, wrong;
  double samples = 0.0;  // readable ones a question, on average
  double auroc = 0.0;    // of -entropy as a confidence in the greedy answer; NaN where that cannot be said
  bool Any() const { return all.clusters > 0; }
};
// The entropy of each question with at least two readable samples, by its id.
std::map<std::string, double> EntropyByQuestion(const std::vector<AnswerRow>& rows);
// `rows`: one data set's, greedy and sampled.
SemanticEntropyFigures ComputeSemanticEntropyFigures(const std::vector<AnswerRow>& rows);

// How much the wording of a question matters: over pairs of phrasings of one question (rows with the same paraphrase_of), then over
// questions. Greedy answers.
struct ParaphraseFigures {
  calibration::ClusteredMean confidence;  // |difference| of the two confidences, where both have one
  calibration::ClusteredMean answer;      // share of pairs with different answers, where both kept the format
  calibration::ClusteredMean grade;       // share of pairs of which one is right and the other wrong
  int questions = 0;                      // with at least two phrasings
  double phrasings = 0.0;                 // a question, on average
};
ParaphraseFigures ComputeParaphraseFigures(const std::vector<AnswerRow>& rows);

nlohmann::json ToJson(const SemanticEntropyFigures& figures);
nlohmann::json ToJson(const ParaphraseFigures& figures);

}  // namespace candor
