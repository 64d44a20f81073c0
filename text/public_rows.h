// What preparing any public data set has in common: rows as lines, questions that no two rows may share, and a record of what was left out.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "core/result.h"

namespace candor {

struct PublicSplit {
  std::string name;                // train, dev, test, ..
  int64_t wanted = 0;              // rows
  std::vector<std::string> lines;  // JSON objects in Candor's shape (text/rows.h)
  bool full() const { return static_cast<int64_t>(lines.size()) >= wanted; }
};

struct PublicRows {
  std::vector<PublicSplit> splits;
  int64_t read = 0;                        // records
  std::map<std::string, int64_t> dropped;  // reason -> records
  PublicSplit& Split(const std::string& name);
  const PublicSplit& Split(const std::string& name) const;
};

// Two questions that this maps to one text are the same question.
using QuestionNormaliser = std::function<std::string(const std::string&)>;

// "only 812 of 900 records can be used (600 too long, 3 repeated): .."
Status CheckFull(const PublicRows& rows, const std::string& path);

// The 64 bits that a name's random numbers follow from.
uint64_t NameBits(const std::string& name);

}  // namespace candor
