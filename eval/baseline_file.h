// Rows of a data set with the scores of stored answers of a reference policy: what `candor baseline` writes and [reward] baseline_field
// reads. Each line is the row as it was, with two members more: the field, a list of the scores of its answers whose label is known, and
// "baseline_by", which says how they were made. While it grows it is called PATH.part, one line flushed at a time; a line that a crash tore
// off is cut, and writing goes on behind the last whole one. One thread.
#pragma once
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"
#include "text/rows.h"

namespace candor {

struct BaselineSettings {
  std::string field = "baseline_scores";
  std::string by;  // model, sampling and format in one text: lines made otherwise are not gone on with
};

class BaselineFile {
 public:
  // Refuses: a PATH that is there already, a PATH.part of other rows or settings.
  static Result<BaselineFile> Open(const std::string& path, const BaselineSettings& settings, const DataSet& rows);

  size_t done() const { return done_; }  // rows that are written, from the first on
  // The next row's scores.
  Status Append(const DataRow& row, const std::vector<double>& scores);
  // All rows are there: PATH.part becomes PATH.
  Status Finish();

  // Over all lines, those of an earlier attempt included.
  double mean_score() const { return scores_ > 0 ? score_sum_ / static_cast<double>(scores_) : 0.0; }
  size_t scores() const { return scores_; }
  size_t rows_without_scores() const { return empty_; }

 private:
  BaselineFile(std::string path, BaselineSettings settings) : path_(std::move(path)), settings_(std::move(settings)) {}
  Status TakeUp(const DataSet& rows);
  Status CheckLine(const std::string& line, const DataRow& row);
  void Count(const std::vector<double>& scores);
  std::string Part() const { return path_ + ".part"; }

  std::string path_;
  BaselineSettings settings_;
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_{nullptr, &std::fclose};
  size_t done_ = 0, scores_ = 0, empty_ = 0;
  double score_sum_ = 0.0;
};

}  // namespace candor
