// The live coordinator's own account of a run, asked over its control socket with the run's observer key.
#pragma once
#include <nlohmann/json.hpp>
#include <string>

#include "core/result.h"

namespace candor::cli {

// kUnavailable, and why, when no coordinator answers within deadline_ms.
Result<nlohmann::json> AskStatus(const std::string& run_dir, const std::string& run_id, int deadline_ms);

}  // namespace candor::cli
