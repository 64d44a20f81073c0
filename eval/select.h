// Parts of a set of answers, and answers as the rows that calibration/ measures. Pure.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "calibration/rows.h"
#include "eval/answers.h"

namespace candor {

struct AnswerFilter {
  std::optional<std::string> dataset = {}, role = {};
  std::optional<bool> greedy = {};
};
std::vector<AnswerRow> Select(const std::vector<AnswerRow>& rows, const AnswerFilter& filter);
// In order of first appearance.
std::vector<std::string> DatasetNames(const std::vector<AnswerRow>& rows);
// Unknown labels are left out: an answer that could not be graded says nothing. Phrasings of one question are one cluster.
std::vector<calibration::Row> ToRows(const std::vector<AnswerRow>& rows);
// The same with another confidence per row; nullopt where it has none. `confidences` is parallel to `rows`.
std::vector<calibration::Row> ToRows(const std::vector<AnswerRow>& rows, const std::vector<std::optional<double>>& confidences);
// A signal of every row; nullopt where a row lacks it or it is no probability.
std::vector<std::optional<double>> SignalOf(const std::vector<AnswerRow>& rows, const std::string& name);

}  // namespace candor
