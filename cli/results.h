// What a finished run leaves for people: summary.json and report.html, and the table printed at its end.
#pragma once
#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "core/result.h"

namespace candor::cli {

Status WriteResults(Recipe& recipe, const RunDir& run);
Status PrintResults(const RunDir& run);

}  // namespace candor::cli
