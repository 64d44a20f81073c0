// `state_dir`: where a run's ledger and fences live. By default that is its own folder; on a site whose shared file system cannot hold them
// (no hard links, no locks) the recipe names another one.
#pragma once
#include <string>

#include "cli/recipe.h"
#include "cli/run_dir.h"
#include "core/result.h"

namespace candor::cli {

std::string StateDirOf(const Recipe& recipe, const RunDir& run);
// Tries the file system, refuses it by name where it is unsafe, and points RUN_DIR/ledger there, so that every reader finds it.
Status PrepareStateDir(const Recipe& recipe, const RunDir& run);

}  // namespace candor::cli
