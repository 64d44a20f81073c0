// Tables over answers: what `candor eval` prints, and the words and numbers that the report and the comparison share.
#pragma once
#include <string>
#include <vector>

#include "eval/answers.h"

namespace candor {

// One table per decoding (greedy, sampled), a line per data set: n, accuracy, mean confidence, Brier with CORP split, ECE with its null 95
// % quantile, AUROC, AUGRC, each with intervals. Below them, where there are such rows: semantic entropy and paraphrases (consistency.h).
std::string AnswersText(const std::vector<AnswerRow>& rows);
// {"greedy": {dataset: summary}, "sampled": {...}} with the keys of `candor calibration --json`; semantic_entropy and paraphrases by data
// set.
std::string AnswersJson(const std::vector<AnswerRow>& rows);

}  // namespace candor
