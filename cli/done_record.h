// What is done in a run, as records signed with its keys (core/signed_record.h): RUN_DIR/done.json, and trainer-done.json, which rank 0
// writes behind the last step. Nothing else is believed: not the exit code of srun, not a job's state.
#pragma once
#include <string>

#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "core/result.h"

namespace candor::cli {

Status RecordTrainerDone(const RunDir& run, int64_t steps);
// False too where the record is missing, forged or of fewer steps.
bool IsTrainerDone(const RunDir& run, int64_t steps);

Status RecordRunDone(const RunDir& run, const Recipe& recipe);
bool IsRunDone(const RunDir& run);
// Why it is not, for people: what is missing, or what is wrong with the record.
Status CheckRunDone(const RunDir& run);

// "runs/x holds a finished run", and what became of the steps that the recipe asks for beyond those it has.
std::string DescribeFinished(const RunDir& run, const Recipe& recipe);

// Makes the run's keys where it has none yet.
Status EnsureKeys(const RunDir& run);

}  // namespace candor::cli
