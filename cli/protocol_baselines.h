// The baselines of a protocol: what confidences are worth that need no RL, on the answers of the policy that RL starts from.
#pragma once
#include <string>
#include <vector>

#include "cli/protocol_file.h"
#include "cli/run_dir.h"
#include "eval/paired_arms.h"

namespace candor::cli {

// `runs`: the reference arm's finished runs, one for each seed. What has to be computed is kept under `folder` and not computed again.
Result<std::vector<Arm>> ProtocolBaselines(const ProtocolFile& protocol, const std::vector<RunDir>& runs, const std::string& folder,
                                           bool quiet);

// The one of them that needs the policy itself, of the reference's run from one seed, while its folder is there: kept where
// ProtocolBaselines looks for it.
Status KeepFrozenReadout(const ProtocolFile& protocol, const RunDir& run, int64_t seed, const std::string& folder, bool quiet);

}  // namespace candor::cli
