// Every subcommand of candor, one function each in a file of its name. argv[0] is the subcommand. The return value is the process's exit code (core/result.h, ExitCode).
// Functions of the torch program live in cli/torch/commands.h.
#pragma once

namespace candor::cli {

int RunCalibration(int argc, const char* const* argv);
int RunTokenize(int argc, const char* const* argv);

}  // namespace candor::cli
