// A linear reading of the hidden state of a policy that stays as it is, fitted on its own labelled answers: what a confidence can be had
// for without RL. Runs candor-torch; results are kept under a folder and not computed again.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "eval/answers.h"

namespace candor::cli {

// What the answers are taken from: a policy's folder, and the recipe whose format they have.
struct FrozenPolicy {
  std::string model, recipe;
};

// Answers to the first `questions` rows of a file, the greedy one and `samples` sampled ones each, with labels, at `out`.
Status LabelAnswers(const FrozenPolicy& policy, const std::string& rows, int64_t questions, int64_t samples, const std::string& out,
                    bool quiet);
// Fits the reading on the answers whose label is known, as folder/head.
Status FitReadout(const FrozenPolicy& policy, const std::vector<AnswerRow>& labelled, const std::string& folder);
// The reading of every answer, in order, within [.001, .999]; nullopt where there is none. `name` tells its files apart.
Result<std::vector<std::optional<double>>> ReadReadout(const std::string& folder, const std::vector<AnswerRow>& rows,
                                                       const std::string& name);

}  // namespace candor::cli
