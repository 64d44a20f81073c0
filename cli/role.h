// What every role does around its own work: its arguments, a stop flag set by SIGTERM and Ctrl-C, its log, the run's recipe, data and keys.
#pragma once
#include <atomic>
#include <functional>
#include <map>
#include <string>

#include "cli/recipe.h"
#include "core/result.h"
#include "text/rows.h"

namespace candor::cli {

struct RoleArguments {
  std::string run_dir;
  int index = 0;
  const std::atomic<bool>* stop = nullptr;
};
using RoleBody = std::function<Status(const RoleArguments&)>;

// Parses --run-dir (and --index when `indexed`), runs the body, prints and logs what failed; the exit code.
int RunRole(const std::string& role, const std::string& about, bool indexed, int argc, const char* const* argv, const RoleBody& body);
// Lines of this process go to RUN_DIR/logs/<worker>.log, and to stderr on a terminal.
Status StartRoleLog(const RoleArguments& arguments, const std::string& worker);
// The data sets by the names that prompts carry: "train" and every [[eval]]. The same files, in the same order, as every other role reads.
Result<std::map<std::string, DataSet>> LoadRunData(const Recipe& recipe);

}  // namespace candor::cli
