// Settings of the reward tier: the section [reward] and the lists [[verifier]], [[judge]] and [[criterion]], with their option tables
// (core/options.h).
#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "core/options.h"
#include "reward/judges/judge_options.h"

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

// One [[criterion]] of the channel rubric.
struct CriterionOptions {
  std::string channel;
  double weight = 1.0;
  double veto_below = -1e9;
};

struct RewardOptions {
  std::string verifier;
  std::string filter = "accuracy";
  double filter_low = 0.2;
  double filter_high = 0.8;
  double filter_min_variance = 0.5;
  double filter_min_spread = 0.1;
  double filter_max_rank = 0.0;
  double filter_worst_share = 0.1;
  double filter_beta = 0.5;
  double filter_ema = 0.99;
  int64_t filter_average_from = 6;
  int64_t filter_from = 11;
  double dro_gamma = 0.5;
  double dro_reflective = 0.5;
  double length_beta = 1.0;
  std::vector<std::string> abstain;
  double answer_threshold = 0.5;
  double majority_min_share = 0.5;
  double hybrid_group_share = 0.5;
  std::string baseline_field;
  double label_noise = 0.0;
  double label_false_positive = 0.0;
  double label_false_negative = 0.0;
  std::string signal;
  int64_t workers = 1;
  int64_t threads = 4;
  int64_t max_in_flight = 256;
  std::string bind = "tcp://127.0.0.1:0";
  int64_t spool_limit_mb = 8192;
  std::vector<VerifierOptions> verifiers;
  std::vector<CriterionOptions> criteria;
  std::vector<JudgeOptions> judges;
};

void Declare(OptionTable& table, VerifierOptions& options);
void Declare(OptionTable& table, CriterionOptions& options);
void Declare(OptionTable& table, RewardOptions& options);

}  // namespace candor
