// Every subcommand of candor, one function each in a file of its name. argv[0] is the subcommand. The return value is the process's exit
// code (core/result.h, ExitCode). Functions of the torch program live in cli/torch/commands.h.
#pragma once

namespace candor::cli {

int RunCalibration(int argc, const char* const* argv);
int RunCheck(int argc, const char* const* argv);
int RunCompare(int argc, const char* const* argv);
int RunCoordinatorRole(int argc, const char* const* argv);
int RunDashboard(int argc, const char* const* argv);
int RunData(int argc, const char* const* argv);
int RunDoctor(int argc, const char* const* argv);
int RunInit(int argc, const char* const* argv);
int RunJob(int argc, const char* const* argv);
int RunJoin(int argc, const char* const* argv);
int RunJudge(int argc, const char* const* argv);
int RunLabelCurve(int argc, const char* const* argv);
int RunLedger(int argc, const char* const* argv);
int RunReport(int argc, const char* const* argv);
int RunRewardRole(int argc, const char* const* argv);
int RunRun(int argc, const char* const* argv);
int RunSimulate(int argc, const char* const* argv);
int RunStatus(int argc, const char* const* argv);
int RunSubmit(int argc, const char* const* argv);
int RunSweep(int argc, const char* const* argv);
int RunTokenize(int argc, const char* const* argv);
int RunVerifier(int argc, const char* const* argv);

}  // namespace candor::cli
