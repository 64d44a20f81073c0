// Verifier kind python_tests: the completion's Python is run against the row's tests, in a sandbox (sandbox.h). The code is the last
// ```python block of the answer (of the completion, where there is no answer), else all of it.
#pragma once
#include <memory>

#include "reward/verifiers/verifier.h"

namespace candor {

// Errors: sandbox = "bwrap" where it does not work, scripts that are not found.
Result<std::unique_ptr<Verifier>> MakePythonTestsVerifier(const VerifierOptions& options);

// What the sandbox says of the code, in one line; the code itself may have written it. kInvalidInput: not the line with this run's nonce.
Result<Verdict> ReadTestVerdict(std::string_view line, const std::string& nonce);

// The code of an answer.
std::string CodeOf(std::string_view text);

}  // namespace candor
