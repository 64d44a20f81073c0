// The subcommands and roles that need a model, one function each in a file of its name; argv[0] is the subcommand, the return value the
// exit code.
#pragma once

namespace candor::cli {

int RunScore(int argc, const char* const* argv);
int RunExport(int argc, const char* const* argv);
int RunGenerate(int argc, const char* const* argv);
int RunEval(int argc, const char* const* argv);
int RunServe(int argc, const char* const* argv);
int RunSft(int argc, const char* const* argv);
int RunCheckpoint(int argc, const char* const* argv);
int RunBaseline(int argc, const char* const* argv);
int RunBench(int argc, const char* const* argv);
int RunTrainRm(int argc, const char* const* argv);
int RunRewardModel(int argc, const char* const* argv);
int RunRolloutRole(int argc, const char* const* argv);
int RunTrainerRole(int argc, const char* const* argv);

}  // namespace candor::cli
