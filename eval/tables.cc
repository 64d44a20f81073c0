#include "eval/tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "calibration/summary.h"
#include "eval/consistency.h"
#include "eval/select.h"

namespace candor {

namespace {

using calibration::CalibrationSummary;
using calibration::Interval;

std::string Cell(double value, const Interval& interval) {
  if (!std::isfinite(value)) return "-";
  if (!std::isfinite(interval.low)) return fmt::format("{:.3f}", value);
  return fmt::format("{:.3f} [{:.3f}, {:.3f}]", value, interval.low, interval.high);
}

// Columns padded to their widest cell; the first row is the head.
std::string Aligned(const std::vector<std::vector<std::string>>& table) {
  std::vector<size_t> width;
  for (const auto& row : table)
    for (size_t i = 0; i < row.size(); ++i) {
      if (width.size() <= i) width.push_back(0);
      width[i] = std::max(width[i], row[i].size());
    }
  std::string text;
  for (const auto& row : table) {
    std::string line = " ";
    for (size_t i = 0; i < row.size(); ++i) line += fmt::format(" {:<{}}", row[i], width[i] + 1);
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::vector<std::string> TableRow(const std::string& name, const std::vector<AnswerRow>& rows) {
  const CalibrationSummary s = calibration::ComputeSummary(ToRows(rows));
  return {name,
          std::to_string(s.rows),
          Cell(s.accuracy_all_rows, s.accuracy_all_rows_interval),
          fmt::format("{:.1f} %", s.rows == 0 ? 0.0 : 100.0 * static_cast<double>(s.n) / static_cast<double>(s.rows)),
          s.n == 0 ? "-" : fmt::format("{:.3f}", s.confidence.mean),
          Cell(s.brier, s.estimates.brier.interval),
          s.n == 0 ? "-" : fmt::format("{:.3f} - {:.3f} + {:.3f}", s.corp.mcb, s.corp.dsc, s.corp.unc),
          s.n == 0 ? "-" : fmt::format("{:.3f} ({:.3f})", s.ece_independent[1], s.ece_null95[1]),
          Cell(s.auroc, s.estimates.auroc.interval),
          Cell(s.augrc, s.estimates.augrc.interval)};
}

using Table = std::vector<std::vector<std::string>>;

std::string MeanCell(const calibration::ClusteredMean& mean) { return mean.clusters == 0 ? "-" : Cell(mean.mean, mean.interval); }

// Of the data sets whose questions have several samples.
std::string EntropyText(const std::vector<AnswerRow>& rows) {
  Table table = {{"set", "questions", "samples", "entropy", "greedy answer right", "greedy answer wrong", "AUROC of -entropy"}};
  for (const std::string& name : DatasetNames(rows)) {
    const SemanticEntropyFigures f = ComputeSemanticEntropyFigures(Select(rows, {.dataset = name}));
    if (f.Any())
      table.push_back({name, std::to_string(f.all.clusters), fmt::format("{:.1f}", f.samples), MeanCell(f.all), MeanCell(f.right),
                       MeanCell(f.wrong), Cell(f.auroc, {NAN, NAN})});
  }
  return table.size() == 1 ? "" : "\nSeveral answers to one question: entropy over the different ones, nats\n" + Aligned(table);
}

std::string ParaphraseText(const std::vector<AnswerRow>& rows) {
  Table table = {{"set", "questions", "phrasings", "confidence differs by", "answer changes", "right becomes wrong"}};
  for (const std::string& name : DatasetNames(rows)) {
    const ParaphraseFigures f = ComputeParaphraseFigures(Select(rows, {.dataset = name}));
    if (f.questions > 0)
      table.push_back({name, std::to_string(f.questions), fmt::format("{:.1f}", f.phrasings), MeanCell(f.confidence), MeanCell(f.answer),
                       MeanCell(f.grade)});
  }
  return table.size() == 1 ? "" : "\nSeveral phrasings of one question, greedy answers: means over pairs of phrasings\n" + Aligned(table);
}

}  // namespace

std::string AnswersText(const std::vector<AnswerRow>& rows) {
  std::string text;
  for (bool greedy : {true, false}) {
    std::vector<std::vector<std::string>> table = {
        {"set", "n", "accuracy", "format", "confidence", "Brier", "= MCB - DSC + UNC", "ECE15 (null 95 %)", "AUROC", "AUGRC"}};
    for (const std::string& name : DatasetNames(rows))
      if (std::vector<AnswerRow> part = Select(rows, {.dataset = name, .greedy = greedy}); !part.empty())
        table.push_back(TableRow(name, part));
    if (table.size() > 1) text += (greedy ? "Greedy answers\n" : "\nSampled answers\n") + Aligned(table);
  }
  return text + EntropyText(rows) + ParaphraseText(rows);
}

std::string AnswersJson(const std::vector<AnswerRow>& rows) {
  nlohmann::json all;
  for (bool greedy : {true, false})
    for (const std::string& name : DatasetNames(rows))
      if (std::vector<AnswerRow> part = Select(rows, {.dataset = name, .greedy = greedy}); !part.empty())
        all[greedy ? "greedy" : "sampled"][name] = calibration::ToJson(calibration::ComputeSummary(ToRows(part)));
  for (const std::string& name : DatasetNames(rows)) {
    const std::vector<AnswerRow> part = Select(rows, {.dataset = name});
    if (const auto figures = ComputeSemanticEntropyFigures(part); figures.Any()) all["semantic_entropy"][name] = ToJson(figures);
    if (const auto figures = ComputeParaphraseFigures(part); figures.questions > 0) all["paraphrases"][name] = ToJson(figures);
  }
  return all.dump(1) + "\n";
}

}  // namespace candor
