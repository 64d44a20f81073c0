// The stages of a run that are one child process each: self_answers, sft, warm_up, and the evaluations before and after RL.
#pragma once
#include <string>

#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "core/result.h"

namespace candor::cli {

struct StartPolicies {
  std::string shared;  // before the slot's warm-up: what recipes with other rewards start from as well
  std::string rl;      // what RL starts from; the same folder where the recipe has no stage warm_up
};
// Runs what stands before "rl" in recipe.run.stages and returns the model folders that came of it. A stage's result is kept in
// recipe.run.stage_cache under a hash of everything that goes into it (model, rows, settings), so that recipes that share a stage share its
// result; RUN_DIR/stages.json says which folder each stage made.
Result<StartPolicies> RunStagesBeforeRl(const Recipe& recipe, const RunDir& run, bool quiet);

// The hash of everything that goes into the result of a stage that starts from `model`; `rows_before`: of the rows that another stage made.
Result<std::string> StageHash(const std::string& stage, const Recipe& recipe, const std::string& model, const std::string& rows_before);

// Asks `model` every [[eval]] of the recipe and writes RUN_DIR/eval/<when>.jsonl; nothing is done when the file is there. `when`: before,
// after, or warm_up, which asks the first held-out set only, greedily.
Status Evaluate(const Recipe& recipe, const RunDir& run, const std::string& when, const std::string& model, bool quiet);

// A question's completion as the format writes it, with a confidence that says nothing:
// "<answer>France</answer>\n<confidence>0.37</confidence>".
std::string FormatCompletion(const FormatOptions& format, const std::string& answer, double confidence);
// The answer inside a few-shot reply: its first line, from behind `after` on when that is given ("" when the line lacks it), without
// quotes, markup or a full stop at the end.
std::string FirstLineAnswer(const std::string& reply, const std::string& after);

}  // namespace candor::cli
