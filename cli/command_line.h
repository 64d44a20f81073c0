// What all commands share at their edges: how a command line is read, how a failure is told, and that output which could not be written is
// noticed. Exit codes: core/result.h.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "core/result.h"

namespace CLI {
class App;
}

namespace candor::cli {

// nullopt: go on. Otherwise the exit code to leave with: help was printed (0), or the command line is wrong (2) and the reason stands on
// stderr, with the option that was probably meant.
std::optional<int> ParseCommandLine(CLI::App& app, int argc, const char* const* argv);

// "candor run: what (where); fix" on stderr; returns the exit code.
int ReportFailure(const std::string& command, const Error& error);
// 0, or what ReportFailure says.
int ExitWith(const std::string& command, const Status& status);

// The last act of a program: `code`, unless its output did not reach its destination (a full disk), which is a failure.
int FinishOutput(int code);

// A command's recipe arguments: "*.toml" and whatever holds no "=" are files, the rest are overrides such as trainer.lr=1e-5.
struct RecipeArguments {
  std::vector<std::string> files, overrides;
};
Result<RecipeArguments> SplitRecipeArguments(const std::vector<std::string>& given);

// Makes the folders above `path` and tries to write there, so that hours of work do not end in "cannot create".
Status PrepareOutput(const std::string& path);

}  // namespace candor::cli
