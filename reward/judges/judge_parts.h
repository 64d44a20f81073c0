// What the judges share: questions from a file, votes from answers. Pure but for the client; any thread.
#pragma once
#include <fmt/format.h>

#include <numeric>
#include <optional>
#include <string>
#include <vector>

#include "core/rng.h"
#include "reward/judges/judge.h"
#include "reward/verifiers/code_runner.h"
#include "reward/verifiers/failure_log.h"

namespace candor {

struct JudgeParts {
  JudgeOptions options;
  JudgeFile file;
  std::unique_ptr<JudgeClient> client;
  std::unique_ptr<CodeRunner> runner;  // where the file runs code
  mutable FailureLog failures;
};

// The file of the options, checked with them, and a client.
Result<std::unique_ptr<JudgeParts>> MakeJudgeParts(const JudgeOptions& options);

// `votes` times the same question; the seed of each is a function of `id`, `part` and its number.
void AddQuestions(const JudgeFile& file, const JudgeFields& fields, const std::string& id, uint64_t part, int64_t votes,
                  std::vector<JudgeQuestion>& questions);
// The answers; where the file runs code, those that hold a program go on from what it printed. A program that the sandbox could not run at
// all is no answer.
std::vector<Result<JudgeAnswer>> AskAndRun(const JudgeParts& parts, const std::vector<JudgeQuestion>& questions);
// The row's accepted answers as one text.
std::string ReferenceOf(const DataRow* row);

// Why nothing came of the answers: the first error, or that none could be read.
std::string WhyUnjudged(const std::vector<Result<JudgeAnswer>>& answers, int64_t needed);

}  // namespace candor
