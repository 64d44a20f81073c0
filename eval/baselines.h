// Confidences that need no RL, to be read beside every trained one: what a constant, a lookup of the predicted answer, and the answer's own
// log-probability are worth. Fitted on the dev answers of the same model, never on what is reported. Pure.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "eval/answers.h"

namespace candor {

struct Baseline {
  std::string name;                                // "constant", "answer_lookup", "answer_probability", "answer_probability_platt"
  std::string explanation;                         // one sentence
  std::vector<std::optional<double>> confidences;  // parallel to the rows asked about
};

// `dev` may be empty: then only the raw answer probability can be had. Both are greedy answers of one model.
std::vector<Baseline> ComputeBaselines(const std::vector<AnswerRow>& dev, const std::vector<AnswerRow>& rows);

// AUROC over pairs of rows with the same predicted answer: what a confidence knows beyond which answers tend to be right. NaN without such
// pairs of different label.
double WithinAnswerAuroc(const std::vector<AnswerRow>& rows, const std::vector<std::optional<double>>& confidences);

}  // namespace candor
