// Settings of data and format, with their option tables (core/options.h).
#pragma once
#include <string>
#include <vector>

#include "core/options.h"

namespace candor {

// One file, or folder of *.jsonl, of training rows.
struct DataFile {
  std::string path;
  double weight = 1.0;  // how often each of its rows occurs in one pass; 0.5 takes every other row
};

// Where to find a row's parts. Dotted names reach into objects ("reward_model.ground_truth"). "" = look for the usual names (text/rows.h
// lists them).
struct FieldNames {
  std::string prompt;
  std::string answer;
  std::string completion;
  std::string id;
  std::string slice;
};

struct DataOptions {
  std::vector<DataFile> train;
  FieldNames fields;
};

// What the policy is asked to write, and how a row becomes a prompt.
struct FormatOptions {
  std::vector<std::string> tags = {"think", "answer", "confidence"};
  std::string confidence = "verbal";
  std::string system_prompt = "auto";
  std::string system_role = "system";
  std::string prompt_template = "{prompt}";
  std::string slot_high;
  std::string slot_low;
};

void Declare(OptionTable& table, DataOptions& options);
void Declare(OptionTable& table, FormatOptions& options);

}  // namespace candor
