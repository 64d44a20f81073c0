#include "eval/select.h"

#include <algorithm>

namespace candor {

std::vector<AnswerRow> Select(const std::vector<AnswerRow>& rows, const AnswerFilter& filter) {
  std::vector<AnswerRow> part;
  for (const AnswerRow& row : rows)
    if ((!filter.dataset || row.dataset == *filter.dataset) && (!filter.role || row.role == *filter.role) &&
        (!filter.greedy || row.greedy == *filter.greedy))
      part.push_back(row);
  return part;
}

std::vector<std::string> DatasetNames(const std::vector<AnswerRow>& rows) {
  std::vector<std::string> names;
  for (const AnswerRow& row : rows)
    if (std::find(names.begin(), names.end(), row.dataset) == names.end()) names.push_back(row.dataset);
  return names;
}

std::vector<std::optional<double>> SignalOf(const std::vector<AnswerRow>& rows, const std::string& name) {
  std::vector<std::optional<double>> values;
  for (const AnswerRow& row : rows) {
    auto found = row.signals.find(name);
    values.push_back(found != row.signals.end() && 0.0 <= found->second && found->second <= 1.0 ? std::optional<double>(found->second)
                                                                                                : std::nullopt);
  }
  return values;
}

std::vector<calibration::Row> ToRows(const std::vector<AnswerRow>& rows, const std::vector<std::optional<double>>& confidences) {
  std::vector<calibration::Row> out;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (rows[i].label == Label::kUnknown) continue;
    calibration::Row row;
    if (confidences[i]) row.confidence = Confidence::From(*confidences[i]);
    row.label = rows[i].label == Label::kCorrect ? 1.0 : 0.0;
    row.prompt = rows[i].dataset + "/" + (rows[i].paraphrase_of.empty() ? rows[i].prompt : rows[i].paraphrase_of);
    row.slices = rows[i].slices;
    out.push_back(std::move(row));
  }
  return out;
}

std::vector<calibration::Row> ToRows(const std::vector<AnswerRow>& rows) {
  std::vector<std::optional<double>> confidences;
  for (const AnswerRow& row : rows) confidences.push_back(row.confidence);
  return ToRows(rows, confidences);
}

}  // namespace candor
