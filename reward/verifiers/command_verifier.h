// A user's verifier as a program: a pool of long-lived children (child_process.h) that speak JSON lines (json_protocol.h). A child that
// hangs, floods, exits or answers nonsense is killed with all its descendants; that completion is unknown, with the reason, and the next
// one meets a new child.
#pragma once
#include <memory>

#include "reward/verifiers/verifier.h"

namespace candor {

// options.command must be set. Errors: a program that is not on the PATH.
Result<std::unique_ptr<Verifier>> MakeCommandVerifier(const VerifierOptions& options);

// The path of an adapter script of Candor's ("math_verify_adapter.py"): in $CANDOR_ADAPTERS, else share/candor/adapters or reward/adapters
// beside or above the running program.
Result<std::string> FindAdapter(const std::string& file_name);

}  // namespace candor
