// Log lines are events with fields; role and worker are attached once per process. Text goes to stderr and to RUN_DIR/logs/<worker>.log as
// "time level role event key=value ...". Numbers of a step travel in StepReport, not here.
#pragma once
#include <spdlog/spdlog.h>

#include <string>

#include "core/result.h"

namespace candor {

// Every later line carries `worker` ("rollout-0"), which is also the name that rules of CANDOR_FAULT match (fault_point.h); file "" logs
// to stderr alone. Level: CANDOR_LOG=debug|info|warn|error, default info.
Status StartLog(const std::string& worker, const std::string& file, bool to_stderr);
inline void LogError(const Error& error, const std::string& during) { spdlog::error("{}: {}", during, error.Message()); }

}  // namespace candor
