// The answers of one model to one data set, one JSON line each: what `candor eval` writes and every table, report and comparison reads. A
// line is also a row that `candor calibration` takes (keys confidence, correct, prompt, slice). Format: docs/formats.md.
#pragma once
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"
#include "core/trace.h"

namespace candor {

struct AnswerRow {
  std::string dataset;             // the eval's name
  std::string role;                // held_out | out_of_domain | dev
  std::string prompt;              // the row's id: rows of two models pair by it, answers to one prompt form a cluster
  std::string paraphrase_of = "";  // phrasings of one question share it; "": there is one phrasing
  bool greedy = true;              // else sampled at temperature 1
  int32_t sample = 0;              // which sampled answer
  std::string question, text, answer;
  std::vector<std::string> accepted;
  Label label = Label::kUnknown;
  std::optional<double> confidence;  // the main signal, nullopt where the format did not hold
  std::string format_error;
  std::map<std::string, double> signals;  // every confidence signal by name
  std::vector<std::string> slices;
};

std::string ToJsonLine(const AnswerRow& row);
Result<AnswerRow> ParseAnswerRow(const std::string& line, const std::string& where);
// Errors name file:line. A last line that was torn by a crash is an error too: evaluations are written atomically.
Result<std::vector<AnswerRow>> ReadAnswers(const std::string& path);
Status WriteAnswers(const std::string& path, const std::vector<AnswerRow>& rows);

}  // namespace candor
