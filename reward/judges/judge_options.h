// Settings of one [[judge]]: another model that says what it thinks of an answer, over an OpenAI-compatible endpoint.
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/options.h"

namespace candor {

struct JudgeOptions {
  std::string name;
  std::string prompt;  // a file of recipes/judges, or one's own
  std::string url;     // the base: http://host:port/v1
  std::string model;
  std::string api_key_env, api_key_file;
  std::vector<std::string> allow_hosts;
  bool allow_private = false;
  int64_t votes = 1;
  int64_t min_votes = 1;
  double temperature = 0.0;
  int64_t max_tokens = 1024;
  double correct_from = 0.5;
  std::string aggregate = "min";
  std::string tournament = "round_robin";
  std::string meta;
  int64_t meta_keep = 0;
  double timeout_s = 60.0;
  int64_t retries = 2;
  int64_t concurrency = 8;
  std::string code_sandbox = "bwrap";
  double code_timeout_s = 10.0;
};

void Declare(OptionTable& table, JudgeOptions& options);

}  // namespace candor
