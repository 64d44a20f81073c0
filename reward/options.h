// Settings of the reward tier: the section [reward] and the list [[verifier]], with their option tables (core/options.h).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/options.h"

namespace candor {

// One [[verifier]]: what decides whether an answer is right.
struct VerifierOptions {
  std::string name;
  std::string kind;                  // "" = by the other keys: command → "command", url → "http"
  std::vector<std::string> command;  // program and arguments; run without a shell
  std::string url;
  std::vector<std::string> allow_hosts;
  bool allow_private = false;
  std::string tests_field = "tests";
  std::string sandbox = "bwrap";
  double timeout_s = 10.0;
  double startup_s = 60.0;
  int64_t processes = 2;
  int64_t memory_mb = 0;
  int64_t cpu_s = 0;
  int64_t max_processes = 0;
  double f1_threshold = 0.5;
  double absolute_tolerance = 0.0;
  double relative_tolerance = 1e-6;
  std::string choices_field = "choices";
};

struct RewardOptions {
  std::string verifier;
  std::string filter = "accuracy";
  std::string signal;
  int64_t workers = 1;
  int64_t threads = 4;
  int64_t max_in_flight = 256;
  std::string bind = "tcp://127.0.0.1:0";
  int64_t spool_limit_mb = 8192;
  std::vector<VerifierOptions> verifiers;
};

void Declare(OptionTable& table, VerifierOptions& options);
void Declare(OptionTable& table, RewardOptions& options);

}  // namespace candor
