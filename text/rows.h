// Data rows: JSON lines in, typed rows out. A bad row is an error with file:line and the field; nothing is skipped silently.
//
// Shapes that are understood without configuration (FieldNames renames any of them):
//   ours  {"prompt": string | messages, "answer": string | number | list of them, "id"?, "slice"?: string | list, ...}
//   verl  {"prompt": messages, "reward_model": {"ground_truth": ...}, "data_source": "..."}
//   TRL   {"prompt": string | messages, "completion": string | messages}   and   {"messages": [..., {"role": "assistant", ...}]}
// messages = [{"role": .., "content": ..}, ..]. Of a "messages" row, the last assistant message is the completion and what precedes it the
// prompt. "question" and "problem" are taken for "prompt", and "solution" for "answer", only by saying so in FieldNames.
//
// Pure apart from reading files; any thread.
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/result.h"
#include "text/data_options.h"

namespace candor {

struct DataRow {
  std::string id;                    // the row's own, else "<path>:<line>"; unique in a DataSet, repeats of one row share it
  std::string prompt;                // the question as text: the prompt string, or the last user message's content
  std::string messages_json;         // JSON array of messages; "" when the row's prompt is a string
  std::vector<std::string> answers;  // accepted answers; empty when the row has none, or has [] (then every answer is wrong)
  std::string completion;            // a reference completion (SFT); "" when there is none
  bool has_completion = false;
  std::vector<std::string> slices;  // labels under which results are also reported
  std::string source;               // verl's data_source, else ""
  std::string json;                 // the original line, for user verifiers
  std::string where;                // "path:line"
};

struct DataSet {
  std::vector<DataRow> rows;
  std::string hash;  // XXH3-128 over the XXH3-128 of each row's line, in order, hex: two roles that agree on it hold the same rows
};

// What the caller cannot do without.
struct RowNeeds {
  bool answer = false;      // RL and evaluation: rows without an answer are errors
  bool completion = false;  // SFT: rows without a completion are errors
};

// `where` ("path:line") is used in errors, becomes DataRow::where, and is the id of a row without one.
Result<DataRow> ParseRow(std::string_view line, const std::string& where, const FieldNames& fields, const RowNeeds& needs);

// A .jsonl file, or a folder: all its *.jsonl in name order. Blank lines are skipped. `limit` > 0 reads only the first rows.
Result<DataSet> ReadDataSet(const std::string& path, const FieldNames& fields, const RowNeeds& needs, int64_t limit = 0);

// Several files, interleaved by weight: row k of n of a file lies at fraction (k + 1/2) / n of the whole, so that every stretch of the set
// holds the files in proportion. A function of the files and weights alone.
Result<DataSet> ReadDataSets(std::span<const DataFile> files, const FieldNames& fields, const RowNeeds& needs);

}  // namespace candor
