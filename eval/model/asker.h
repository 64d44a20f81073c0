// Asks a model the rows of a data set, greedily and by sampling, grades the answers and reads every confidence signal: the step from a
// model to eval/answers.h rows. One thread calls it; the engine inside uses EngineOptions::threads.
#pragma once
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/result.h"
#include "eval/answers.h"
#include "reward/options.h"
#include "rollout/options.h"
#include "text/data_options.h"
#include "text/rows.h"

namespace candor {

struct AskOptions {
  EngineOptions engine;
  SamplingOptions sampling;  // of the sampled answers; greedy ones are decoded at temperature 0
  std::vector<std::string> stop;
  FormatOptions format;
  RewardOptions reward;  // the verifiers
  std::string signal;    // main confidence signal; "" = by the format (slot, verbal)
  int64_t samples = 0;   // sampled answers per row besides the greedy one
  uint64_t seed = 1;
};

// One set of questions.
struct AskSet {
  std::string name, role;
  DataSet rows;
  int64_t samples = 0;
  int64_t first_row = 0;  // rows before it are left out; the others are answered as if they were there
  bool greedy = true;     // a greedy answer besides the sampled ones
};

struct AskProgress {
  int64_t done = 0, total = 0;     // rows
  double tokens_per_second = 0.0;  // sampled tokens
};

class Asker {
 public:
  static Result<std::unique_ptr<Asker>> Load(const std::string& model_folder, const AskOptions& options);
  ~Asker();
  // Answers in row order; each row's greedy answer first. `progress` is called now and then (may be empty).
  Result<std::vector<AnswerRow>> Ask(const AskSet& set, const std::function<void(const AskProgress&)>& progress);
  // The same, handed over row by row, in row order, as soon as a row and all before it are answered. An error of `take` ends it.
  using TakeRow = std::function<Status(size_t row, std::vector<AnswerRow>)>;
  Status AskEach(const AskSet& set, const std::function<void(const AskProgress&)>& progress, const TakeRow& take);

 private:
  struct Impl;
  explicit Asker(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace candor
